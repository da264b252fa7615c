"""One setting written into a person's own TOML file, whose comments and order stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from worker.errors import ConfigurationError


def put(file: Path, path: tuple[str, str], value: Any) -> None:
    """Set `section.key` in the file, and leave everything else as it is. Raises ConfigurationError."""
    section, key = path
    try:
        document = tomlkit.parse(file.read_text("utf-8"))
        if section not in document:
            document[section] = tomlkit.table()
        document[section][key] = value
        file.write_text(tomlkit.dumps(document), "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    except TOMLKitError as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from error
