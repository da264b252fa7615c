"""What the demo showed, as one self-contained HTML page. All text is escaped; images are data: addresses."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from worker.demo.figures import Figures, Refusal, Showing, Sight, Times
from worker.demo.stage import BLOCKED_TOPIC, THRESHOLDS
from worker.demo.table import batches
from worker.errors import Reason


def page(showing: Showing) -> str:
    """The page's text."""
    template = Template((files("worker.demo") / "page.html").read_text("utf-8"))
    return template.substitute(
        model=escape(f"{showing.model['name']} ({showing.model['runtime']}, {showing.model['precision']})"),
        fingerprint=escape(showing.model["fingerprint"][:16]),
        tiles=_join(_tiles(showing)),
        policy=_join(_rule(label, actions) for label, actions in THRESHOLDS.items()),
        blocked=escape(BLOCKED_TOPIC),
        cards=_join(map(_card, showing.sights)),
        refusals=_join(map(_refusal, showing.refusals)),
        times=_join(_times(showing.figures)),
        batches=escape(batches(showing.figures)),
    )


def _tiles(showing: Showing) -> Iterable[str]:
    figures = showing.figures
    latency = figures.times[-1]
    for value, name in (
        (f"{figures.images}", "images classified"),
        (f"{figures.images_per_s:.0f}", "images a second"),
        (f"{len(showing.refusals)}", "dead letters"),
        (f"{latency.p50_ms / 1000:.2f} s", "event to result, p50"),
        (f"{latency.p99_ms / 1000:.2f} s", "event to result, p99"),
    ):
        yield f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def _rule(label: str, actions: Mapping[str, float]) -> str:
    steps = ", ".join(f"{action} from {score:g}" for action, score in actions.items())
    return f"<li><b>{escape(label)}</b>: {escape(steps)}</li>"


def _card(sight: Sight) -> str:
    event, photograph = sight.best, sight.photograph
    decision = event["decision"]
    image = base64.b64encode(photograph.thumbnail).decode()
    return f"""\
<article class="card">
<img src="data:image/jpeg;base64,{image}" alt="{escape(photograph.title)}">
<div class="body">
<p class="name">{escape(photograph.title)}</p>
<h3>{escape(decision["label"])} {_action(decision["action"])}</h3>
{_join(_score(entry, decision["label"]) for entry in event["scores"])}
<p class="formats">{_join(_format(name, each, sight) for name, each in sight.by_format.items())}</p>
</div>
</article>"""


def _score(entry: Mapping[str, Any], decided: str) -> str:
    percent = 100 * float(entry["score"])
    mark = " decided" if entry["label"] == decided else ""
    return (
        f'<div class="score{mark}"><span>{escape(entry["label"])}</span><i><u style="width:{percent:.1f}%"></u></i>'
        f"<em>{percent:.1f} %</em></div>"
    )


def _format(name: str, event: Mapping[str, Any], sight: Sight) -> str:
    decision, best = event["decision"], sight.best["decision"]
    differing = [decision[what] for what in ("label", "action") if decision[what] != best[what]]
    told = " ".join([name, f"{decision['score']:.2f}", *differing])
    return f'<span class="chip{" differs" if differing else ""}">{escape(told)}</span>'


def _action(action: str) -> str:
    kind = action if action in ("allow", "review", "block") else "other"
    return f'<span class="action {kind}">{escape(action)}</span>'


def _refusal(refusal: Refusal) -> str:
    letter = refusal.letter
    meaning = next(reason.meaning for reason in Reason if reason == letter.reason)
    return (
        f"<tr><td>{escape(refusal.title)}</td><td><code>{escape(letter.reason)}</code><br><small>{escape(letter.stage)}"
        f"</small></td><td>{escape(meaning)}<br><small>{escape(letter.detail)}</small></td></tr>"
    )


def _times(figures: Figures) -> Iterable[str]:
    longest = max(times.p99_ms for times in figures.times) or 1.0
    return (_time(times, longest) for times in figures.times)


def _time(times: Times, longest_ms: float) -> str:
    inner, outer = (100 * value / longest_ms for value in (times.p50_ms, times.p99_ms))
    return (
        f'<tr><td>{escape(times.stage)}</td><td class="n">{times.p50_ms:.1f} ms</td>'
        f'<td class="n">{times.p99_ms:.1f} ms</td>'
        f'<td class="range"><i><s style="width:{outer:.1f}%"></s><u style="width:{inner:.1f}%"></u></i></td></tr>'
    )


def _join(parts: Iterable[str]) -> str:
    return "\n".join(parts)
