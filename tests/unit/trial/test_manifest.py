"""Manifests in every shape, and what is said of one that is wrong: where, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.trial.columns import Columns
from worker.trial.manifest import read

PLAIN = Columns()
WANTED = [("a.jpg", "cat"), ("sub/b.jpg", "12")]


def rows(path: Path, columns: Columns = PLAIN) -> list[tuple[str, str]]:
    return [(row.source, row.label) for row in read(path, columns).rows]


def written(folder: Path, text: str | bytes, name: str = "manifest") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(path: Path, columns: Columns = PLAIN) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(path, columns)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path}: ", "")


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,cat\nsub/b.jpg,12\n",
        "file,label\na.jpg,cat\nsub/b.jpg,12\n",
        "label,split,Path\ncat,x,a.jpg\n12,y,sub/b.jpg\n",
        "a.jpg\tcat\nsub/b.jpg\t12",
        "\ufeffa.jpg;cat\r\n\r\nsub/b.jpg;12\r\n",
        ' file , species \n"a.jpg",cat\n sub/b.jpg, 12 ,more\n',
        '{"image": "a.jpg", "label": "cat"}\n\n{"label": 12, "image": "sub/b.jpg", "size": [1, 2]}\n',
        '{"url": "a.jpg", "class_name": "cat"}\n{"url": "sub/b.jpg", "class_name": "12"}',
    ],
)
def test_a_manifest_is_told_by_its_first_line(text: str, tmp_path: Path) -> None:
    assert rows(written(tmp_path, text)) == WANTED


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "file\tindex\tname\na.jpg\t3\tcat\nsub/b.jpg\t4\t12\n")
    assert rows(path, Columns(label="name")) == WANTED
    assert rows(path, Columns(image="file", label="index")) == [("a.jpg", "3"), ("sub/b.jpg", "4")]
    lines = written(tmp_path, '{"photo": "a.jpg", "kind": "cat"}\n{"photo": "sub/b.jpg", "kind": 12}\n', "lines")
    assert rows(lines, Columns("photo", "kind")) == WANTED


def test_a_label_that_is_called_like_a_column_makes_no_header(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "nail.jpg,file\nb.jpg,cat\n")) == [("nail.jpg", "file"), ("b.jpg", "cat")]


def test_a_cell_may_hold_a_separator_or_a_line_s_end(tmp_path: Path) -> None:
    path = written(tmp_path, 'file,label\n"a, b.jpg","Arabian camel, dromedary"\n"c\nd.jpg",owl\ne.jpg,\n')
    assert "line 5: it has no label" in complaint(path)
    path = written(tmp_path, 'file,label\n"a, b.jpg","Arabian camel, dromedary"\n"c\nd.jpg",owl\n')
    assert rows(path) == [("a, b.jpg", "Arabian camel, dromedary"), ("c\nd.jpg", "owl")]


def test_paths_are_relative_to_the_manifest_and_addresses_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jpg,x\n/b.jpg,x\nhttps://h/c.jpg,x\nfile:///d.jpg,x\n-,x\n")
    assert [row.place for row in read(path, PLAIN).rows] == [
        str(tmp_path / "a.jpg"),
        "/b.jpg",
        "https://h/c.jpg",
        "file:///d.jpg",
        f"{tmp_path}/-",
    ]


def test_a_dash_in_this_folder_is_a_file_and_not_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "-,x\n", "manifest")
    monkeypatch.chdir(tmp_path)
    assert [row.place for row in read(Path("manifest"), PLAIN).rows] != ["-"]


def test_a_directory_has_a_folder_for_each_label(tmp_path: Path) -> None:
    for name in ("tabby cat/1.jpg", "tabby cat/more/2.jpg", "7/3.jpg", ".cache/4.jpg", "7/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "empty").mkdir()
    found = read(tmp_path, PLAIN).rows
    assert [(row.source, row.label) for row in found] == [
        ("7/3.jpg", "7"),
        ("tabby cat/1.jpg", "tabby cat"),
        ("tabby cat/more/2.jpg", "tabby cat"),
    ]
    assert found[0].place == str(tmp_path / "7/3.jpg")
    assert "a directory, which has no columns" in complaint(tmp_path, Columns(label="x"))
    (tmp_path / "stray.jpg").touch()
    assert complaint(tmp_path) == "stray.jpg is in no folder of a label: move it into one, or away"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a.jpg,cat\nb.jpg\n,owl\nc.jpg,\n",
            ["line 2: it has no label", "line 3: it has no image", "line 4: it has no"],
        ),
        (
            '{"file": "a", "label": "x"}\n{"file": "b"}\n',
            ["line 2: it has no label: write both, or leave the line out"],
        ),
        ('{"file": "a", "label": "x"}\n{"file": "b", "label": true}\n', ["line 2: it has no label"]),
        ('{"file": "a", "label": "x"}\n{"file": \n', ["line 2 is not JSON"]),
        ('{"file": "a", "label": "x"}\n["b", "y"]\n', ["line 2 is no JSON object"]),
        ("a.jpg,cat\nb.jpg,owl\na.jpg,owl\n", ["line 3: 'a.jpg' stands at line 1 already: leave one of them"]),
        ('a.jpg,cat\n"b.jpg"x,owl\n', ["line 2: "]),
        (b"a.jpg,cat\nb\xff.jpg,owl\n", ["line 2 is not UTF-8"]),
        ("just a text\n", ["line 1 is 'just a text'", "one JSON object on each line"]),
        ("", ["there is no image in it"]),
        ("file,label\n", ["there is no image in it"]),
        ("file,index,name\na,1,cat\n", ["the columns are file, index, name: say with --label-column which one it is"]),
        ("id,index,label\na,1,cat\n", ["the columns are id, index, label: say with --image-column which one it is"]),
    ],
)
def test_a_wrong_manifest_says_which_line_and_what_to_write(text: str | bytes, said: list[str], tmp_path: Path) -> None:
    lines = complaint(written(tmp_path, text))
    assert all(part in lines for part in said), lines


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, "file,label\na,b\n")
    assert complaint(path, Columns(label="name")) == "there is no column 'name'; the columns are file, label"


def test_many_complaints_are_shortened(tmp_path: Path) -> None:
    lines = complaint(written(tmp_path, "".join(f"{number}.jpg,\n" for number in range(20)))).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "and 15 more like it"


def test_a_manifest_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert complaint(tmp_path / "missing.csv") == "the manifest cannot be read: No such file or directory"
