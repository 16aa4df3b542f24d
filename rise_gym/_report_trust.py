"""The report's part on trust: what to believe of a dream, then a section for each thing that was asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rise_gym import _trust_plots, _trust_sections
from rise_gym._report_html import document, facts_section, picture
from rise_gym._verdicts import Verdict, in_short, verdicts

if TYPE_CHECKING:
    from rise_gym._trust_sections import Section
    from rise_gym.tasks import TaskCard
    from rise_gym.trust import TrustFigures


def trust_assets(trust: TrustFigures) -> dict[str, bytes]:
    """The pictures (PNG) by file name, of what was measured."""
    compared = trust.compared
    drawn: dict[str, tuple[Mapping[str, Any] | None, Callable[[Any], bytes]]] = {
        "ranking": (compared, _scatter),
        "calibration": (trust.calibration, _trust_plots.calibration_plot),
        "drift": (trust.drift, _trust_plots.drift_plot),
        "uncertainty": (trust.uncertainty, _trust_plots.uncertainty_plot),
        "exploit": (trust.exploit, _trust_plots.exploit_plot),
    }
    return {f"trust_{name}.png": plot(found) for name, (found, plot) in drawn.items() if found is not None}


def _scatter(compared: Mapping[str, Any]) -> bytes:
    robot = compared["robot"]["agreement"] if "robot" in compared else None
    return _trust_plots.scatter_plot(compared["policies"], compared["agreement"], robot)


def trust_page(
    task: TaskCard,
    trust: TrustFigures,
    assets: Mapping[str, bytes],
    facts: Mapping[str, str],
    *,
    with_missing: bool = False,
) -> str:
    """A whole page of nothing else."""
    title = f"{task.title}: imagined and real"
    header = (
        f'<header><h1>{escape(title)}</h1>\n<p class="faint">Instruction: “{escape(task.instruction)}”</p></header>'
    )
    sections = trust_sections(trust, assets, with_missing=with_missing)
    return document(title, [header, *sections, facts_section({**facts, **trust.origins})])


def trust_sections(trust: TrustFigures, assets: Mapping[str, bytes], *, with_missing: bool = False) -> list[str]:
    """A summary in words, then a section for everything that was measured.

    Args:
        trust: what was measured. assets: its pictures, of `trust_assets`.
        with_missing: what was not measured has a section too, which says so, and how it is.
    """
    shown = {part.title: _section(part, assets) for part in _trust_sections.sections(trust)}
    titles = [title for title in _trust_sections.MEASURED_BY if title in shown or with_missing]
    titles[1:1] = [_trust_sections.ROBOT] if _trust_sections.ROBOT in shown else []
    return [_believe(verdicts(trust), trust.note), *[shown.get(title) or _missing(title) for title in titles]]


def _believe(found: Sequence[Verdict], note: str) -> str:
    lines = "<br>\n".join(f"<b>{escape(heading)}:</b> {escape(text)}." for heading, text in in_short(list(found)))
    rows = "\n".join(
        f"<tr><td>{escape(one.question)}</td><td>{escape(one.answer)}</td><td>{escape(one.figure)}</td>"
        f'<td>{escape(one.aim)}</td><td class="state {one.state.replace(" ", "-")}">{one.state}</td></tr>'
        for one in found
    )
    return f"""<section>
<h2>How far the dream can be trusted</h2>
<p class="faint">Imagined by the world model and measured in truth, from the same starts. Ranges in brackets are 95 %
intervals. {escape(note)}</p>
<p class="short">{lines}</p>
<div class="scroll"><table>
<tr><th>asked</th><th>in words</th><th>measured (95 %)</th><th>aim</th><th>aim met?</th></tr>
{rows}
</table></div>
</section>"""


def _section(part: Section, assets: Mapping[str, bytes]) -> str:
    careful = "".join(f'<p class="faint">{escape(note)}</p>' for note in part.careful)
    shown = ""
    if part.picture:
        shown = f"{picture(part.picture, assets, part.caption)}<figcaption>{escape(part.caption)}</figcaption>"
    text = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in part.text if paragraph)
    tables = "".join(part.tables)
    return f"<section>\n<h2>{escape(part.title)}</h2>\n{text}\n{careful}{shown}{tables}\n</section>"


def _missing(title: str) -> str:
    command = _trust_sections.MEASURED_BY[title]
    text = f'<p class="faint">Not measured; <code>{command}</code> measures it.</p>'
    return f"<section>\n<h2>{escape(title)}</h2>\n{text}\n</section>"
