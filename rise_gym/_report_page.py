"""The report's HTML: plain, light, with everything it shows inside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rise_gym.report import Example, PolicyResult, ReportData

_STYLE = """
:root { --ink: #1f2933; --faint: #616e7c; --line: #e4e7eb; --accent: #0b7285; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 48px 24px 72px; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 56px 0 4px; padding-top: 20px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 8px; }
p { margin: 6px 0 14px; max-width: 72ch; }
.faint, figcaption, footer { color: var(--faint); }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 28px 0 8px; }
.figure { flex: 1 1 200px; border: 1px solid var(--line); border-radius: 8px; padding: 14px 18px; }
.figure b { display: block; font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em; }
.figure.accent b { color: var(--accent); }
.figure span { color: var(--faint); font-size: 14px; }
img, video { max-width: 100%; height: auto; display: block; }
figure { margin: 14px 0; }
figcaption { font-size: 14px; margin-top: 6px; }
.scroll { overflow-x: auto; }
.pair { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 20px; align-items: center; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
table { border-collapse: collapse; width: 100%; margin: 14px 0; font-size: 15px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: 13px; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.after td { color: var(--accent); font-weight: 600; }
tr.after td.note { color: var(--faint); font-weight: 400; }
td.note { color: var(--faint); }
"""


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
        _facts(report.facts),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


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
{_picture("results.png", assets, "Success and score of each policy with 95 % intervals")}
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
{_picture("training.png", assets, "Imagined advantage, use of the advantage bins, and loss over training")}
</section>"""


def _dreams(report: ReportData, assets: Mapping[str, bytes]) -> str:
    if not report.dreams:
        return ""
    parts = []
    for number, dream in enumerate(report.dreams, 1):
        parts.append(f"""<h3>{escape(dream.title)}</h3>
<div class="pair">{_video(f"dream_{number}.mp4", assets)}
{_picture(f"progress_{number}.png", assets, "Progress over time, imagined and true")}</div>
{_picture(f"dream_{number}.png", assets, "Frames of each camera, true above imagined")}""")
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
{_picture(f"{kind}_{number}.png", assets, "Head camera over time")}"""
        for number, example in enumerate(examples, 1)
    ]
    body = "".join(parts)
    lead = f'<p class="faint">{escape(text if parts else otherwise)}</p>'
    return f"<section>\n<h2>{escape(title)}</h2>\n{lead}{body}\n</section>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return f"<section>\n<h2>Where the figures come from</h2>\n<table>{rows}</table>\n</section>" if facts else ""


def _percent(result: PolicyResult) -> str:
    return f"<b>{100 * result.success_rate:.1f} %</b> ({_range(result.success_ci95, 100)})"


def _range(interval: tuple[float, float], factor: float, *, digits: int = 0) -> str:
    low, high = (f"{factor * value:.{digits}f}" for value in interval)
    return f"{low} to {high}"


def _picture(name: str, assets: Mapping[str, bytes], meaning: str) -> str:
    source = f"data:image/png;base64,{b64encode(assets[name]).decode()}"
    return f'<figure class="scroll"><img src="{source}" alt="{escape(meaning)}"></figure>'


def _video(name: str, assets: Mapping[str, bytes]) -> str:
    source = f"data:video/mp4;base64,{b64encode(assets[name]).decode()}"
    pause = 'onclick="this.paused ? this.play() : this.pause()" title="click to pause"'
    return f'<figure><video src="{source}" autoplay loop muted playsinline {pause}></video></figure>'
