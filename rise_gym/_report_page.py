"""The report's HTML: plain, light, with everything it shows inside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from rise_gym._report_html import document, facts_section, picture
from rise_gym._report_trust import trust_sections

if TYPE_CHECKING:
    from rise_gym.report import Example, PolicyResult, ReportData


def page(report: ReportData, assets: Mapping[str, bytes]) -> str:
    """The whole page; `assets` are the pictures and films by file name."""
    title = f"{report.task.title}: a policy improved in imagination"
    sections = (
        _headline(report, title),
        _results(report, assets),
        _training(assets),
        _dreams(report, assets),
        _examples(
            "What got better",
            f"The same seed for both: “{report.before}” fails, “{report.after}” succeeds. Twice the robot's speed.",
            "No seed was found among the episodes shown where only the improved policy succeeds.",
            "better",
            report.better,
            assets,
        ),
        _examples(
            "What still fails",
            f"Episodes in which “{report.after}” does not finish, unselected but for that. Twice the robot's speed.",
            f"“{report.after}” failed in none of the episodes that were filmed.",
            "failing",
            report.failing,
            assets,
        ),
        *(trust_sections(report.trust, assets) if report.trust else ()),
        facts_section({**report.facts, **(report.trust.origins if report.trust else {})}),
    )
    return document(title, sections)


def _headline(report: ReportData, title: str) -> str:
    before, after = report.result(report.before), report.result(report.after)
    gained = 100 * (after.success_rate - before.success_rate)
    verb = "rose" if gained > 0 else "did not rise: it went"
    return f"""<header>
<h1>{escape(title)}</h1>
<p class="faint">Instruction: “{escape(report.task.instruction)}”</p>
<p>Success {verb} from {_percent(before)} to {_percent(after)} on {after.episodes} replica episodes of seeds that no
training has seen. It learnt from recorded episodes and from what its world model imagined; the simulator only measured
it.</p>
<div class="figures">
{_rate(before)}
{_rate(after, "accent")}
{_figure(f"{gained:+.0f}", "points of success gained")}
{_figure(f"{before.score_mean:.1f} → {after.score_mean:.1f}", "mean stage score, of 10")}
</div>
</header>"""


def _rate(result: PolicyResult, kind: str = "") -> str:
    meaning = f"success of “{result.name}”, 95 %: {_range(result.success_ci95, 100)}"
    return _figure(f"{100 * result.success_rate:.0f} %", meaning, kind)


def _figure(number: str, meaning: str, kind: str = "") -> str:
    return f'<div class="figure {kind}"><b>{escape(number)}</b><span>{escape(meaning)}</span></div>'


def _results(report: ReportData, assets: Mapping[str, bytes]) -> str:
    rows = "\n".join(_result_row(result, result.name == report.after) for result in report.results)
    columns = "".join(
        f'<th class="number">{name}</th>' for name in ("episodes", "success", "95 %", "score", "95 %", "return")
    )
    return f"""<section>
<h2>Success and score</h2>
<p class="faint">Measured in the MuJoCo replica. Lines are 95 % intervals: Wilson's for success, a bootstrap for the
score.</p>
{picture("results.png", assets, "Success and score of each policy with 95 % intervals")}
<div class="scroll"><table>
<tr><th>policy</th>{columns}<th></th></tr>
{rows}
</table></div>
</section>"""


def _result_row(result: PolicyResult, is_after: bool) -> str:
    numbers = (
        str(result.episodes),
        f"{100 * result.success_rate:.1f} %",
        _range(result.success_ci95, 100),
        f"{result.score_mean:.2f}",
        _range(result.score_ci95, 1, digits=2),
        f"{result.return_mean:.3f}",
    )
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    mark = ' class="after"' if is_after else ""
    return f'<tr{mark}><td>{escape(result.name)}</td>{cells}<td class="note">{escape(result.note)}</td></tr>'


def _training(assets: Mapping[str, bytes]) -> str:
    if "training.png" not in assets:
        return ""
    return f"""<section>
<h2>How it learnt</h2>
<p class="faint">What is learnt from, imagined and judged by the world model: how much progress it gains (left), into
which of the advantage bins it falls (middle), and how well it is imitated (right). Where the policy that proposes
follows the one in training, the first two rise; where it stays the base, as in the demo, they are level.</p>
{picture("training.png", assets, "Imagined advantage, use of the advantage bins, and loss over training")}
</section>"""


def _dreams(report: ReportData, assets: Mapping[str, bytes]) -> str:
    if not report.dreams:
        return ""
    parts = []
    for number, dream in enumerate(report.dreams, 1):
        parts.append(f"""<h3>{escape(dream.title)}</h3>
<div class="pair">{_video(f"dream_{number}.mp4", assets)}
{picture(f"progress_{number}.png", assets, "Progress over time, imagined and true")}</div>
{picture(f"dream_{number}.png", assets, "Frames of each camera, true above imagined")}""")
    ticks = report.dreams[0].chunk
    return f"""<section>
<h2>Imagination beside reality</h2>
<p class="faint">The same start and the same actions, in the replica and in the world model. A chunk is {ticks} ticks;
the dream sees nothing true after its start. True progress is the replica's, imagined progress the value model's
reading of imagined frames. Half the robot's speed.</p>
{"".join(parts)}
</section>"""


def _examples(
    title: str, text: str, otherwise: str, kind: str, examples: Sequence[Example], assets: Mapping[str, bytes]
) -> str:
    parts = [
        f"""<h3>{escape(example.title)}</h3>
{_video(f"{kind}_{number}.mp4", assets)}
{picture(f"{kind}_{number}.png", assets, "Head camera over time")}"""
        for number, example in enumerate(examples, 1)
    ]
    body = "".join(parts)
    lead = f'<p class="faint">{escape(text if parts else otherwise)}</p>'
    return f"<section>\n<h2>{escape(title)}</h2>\n{lead}{body}\n</section>"


def _percent(result: PolicyResult) -> str:
    return f"<b>{100 * result.success_rate:.1f} %</b> ({_range(result.success_ci95, 100)})"


def _range(interval: tuple[float, float], factor: float, *, digits: int = 0) -> str:
    low, high = (f"{factor * value:.{digits}f}" for value in interval)
    return f"{low} to {high}"


def _video(name: str, assets: Mapping[str, bytes]) -> str:
    source = f"data:video/mp4;base64,{b64encode(assets[name]).decode()}"
    pause = 'onclick="this.paused ? this.play() : this.pause()" title="click to pause"'
    return f'<figure><video src="{source}" autoplay loop muted playsinline {pause}></video></figure>'
