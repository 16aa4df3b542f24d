"""The report's section on trust: does the dream rank, are its claims true, how far does it hold, what fools it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rise_gym import _trust_plots
from rise_gym._report_html import picture

if TYPE_CHECKING:
    from rise_gym.report import TrustFigures


def trust_assets(trust: TrustFigures) -> dict[str, bytes]:
    """The section's pictures (PNG) by file name, of what was measured."""
    assets = {}
    if trust.compared is not None:
        agreement = trust.compared["agreement"]
        robot = trust.compared["robot"]["agreement"] if "robot" in trust.compared else None
        assets["trust_ranking.png"] = _trust_plots.scatter_plot(trust.compared["policies"], agreement, robot)
    if trust.calibration is not None:
        assets["trust_calibration.png"] = _trust_plots.calibration_plot(trust.calibration)
    if trust.drift is not None:
        assets["trust_drift.png"] = _trust_plots.drift_plot(trust.drift)
    if trust.uncertainty is not None:
        assets["trust_uncertainty.png"] = _trust_plots.uncertainty_plot(trust.uncertainty)
    if trust.exploit is not None:
        assets["trust_exploit.png"] = _trust_plots.exploit_plot(trust.exploit)
    return assets


def trust_section(trust: TrustFigures, assets: Mapping[str, bytes]) -> str:
    """A question, an answer in words and a picture for everything that was measured."""
    from rise_gym._report_robot import robot_parts

    with_robot = trust.compared if trust.compared is not None and "robot" in trust.compared else None
    parts = [
        part
        for figures, part_of in (
            (trust.compared, _ranking),
            (with_robot, robot_parts),
            (trust.calibration, _calibration),
            (trust.drift, _drift),
            (trust.uncertainty, _uncertainty),
            (trust.exploit, _exploit),
        )
        if figures is not None
        for part in part_of(figures, assets)
    ]
    return f"""<section>
<h2>How far the dream can be trusted</h2>
<p class="faint">Imagined by the world model and measured in truth, from the same starts. Ranges in brackets are 95 %
intervals.</p>
{"".join(parts)}
</section>"""


def _ranking(found: Mapping[str, Any], assets: Mapping[str, bytes]) -> list[str]:
    success = found["agreement"]["success"]
    cost = 100 * success["mmrv"]["value"]
    text = (
        f"{len(found['policies'])} policies, {found['episodes']} matched episodes each: imagined against true success, "
        f"Pearson {_value(success['pearson'])}, Spearman {_value(success['spearman'])}. Who trusts the imagined "
        f"ranking is wrong by up to {cost:.0f} points of success, on the mean over policies (MMRV)."
    )
    caption = "Imagined against true, a dot a policy; on the line both are equal. Orange: who exploits the dream."
    if "robot" in found:
        caption += " Below, the robot against each of them. Thin lines are 95 % intervals."
    return [
        _question("Does it rank policies rightly?", text, [f"Careful: {doubt}." for doubt in found.get("doubts", ())]),
        picture("trust_ranking.png", assets, caption),
        f"<figcaption>{caption}</figcaption>",
        *([] if "robot" in found else [_policies(found["policies"])]),
    ]


def _policies(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = "".join(
        f'<th class="number">{name}</th>' for name in ("success", "imagined", "score", "imagined", "return", "imagined")
    )
    units = (("success", "{:.0%}"), ("score", "{:.1f}"), ("episode_return", "{:.2f}"))
    lines = []
    for row in sorted(rows, key=lambda row: (-row["true"]["success"], -row["true"]["score"])):
        cells = "".join(
            f'<td class="number">{unit.format(row[side][name])}</td>'
            for name, unit in units
            for side in ("true", "imagined")
        )
        title = escape(str(row["policy"])) + (f", noise {row['noise']:g}" if row.get("noise") else "")
        lines.append(f"<tr><td>{title}</td>{cells}</tr>")
    body = "".join(lines)
    return f'<div class="scroll"><table><tr><th>policy</th>{columns}</tr>{body}</table></div>'


def _calibration(found: Mapping[str, Any], assets: Mapping[str, bytes]) -> list[str]:
    wrong, success = found["false_success"], found["success"]
    text = (
        f"Of {success['count']} recorded episodes {success['happened_mean']:.0%} succeed; of their dreams, with "
        f"the same actions, {success['claimed_mean']:.0%}. "
    )
    if wrong["dreamt_successes"]:
        share = wrong["of_dreamt_successes"]
        text += (
            f"{wrong['false_successes']} of {wrong['dreamt_successes']} dreamt successes are none: {_share(share)}. "
        )
    else:
        text += "No dream ends in success. "
    first = next(iter(found["progress"].items()), None)
    if first is not None:
        text += f"Imagined progress is off by {_value(first[1], 'calibration_error')} one chunk ahead."
    caption = "What is claimed against what was true; on the line a claim is right. Grey: fewer than five claims."
    return [
        _question("Do its claims come true?", text),
        picture("trust_calibration.png", assets, caption),
        f"<figcaption>{caption}</figcaption>",
    ]


def _drift(found: Mapping[str, Any], assets: Mapping[str, bytes]) -> list[str]:
    sentences = []
    for outcome, figures in found["drift"].items():
        picture_db, progress = figures["psnr_db"]["value"], figures["progress"]["value"]
        last = max(n for n, count in enumerate(figures["count"]) if count)
        sentences.append(
            f"Episodes that end in {outcome}: pictures from {picture_db[0]:.1f} to {picture_db[last]:.1f} dB and "
            f"progress wrong by {progress[0]:.2f} to {progress[last]:.2f}, after one chunk and after {last + 1}."
        )
    if ranking := found.get("ranking"):
        end, most = ranking["breaks_after"], len(ranking["within_a_state"])
        sentences.append(
            f"Sequences that branch from one state are ranked rightly over all {most} chunks."
            if end is None
            else f"Sequences that branch from one state are ranked (Spearman {ranking['level']:g} or more) for {end} "
            f"chunk{'s' * (end != 1)}, then no longer."
        )
    caption = "Error of dreams of recorded actions against how many chunks were dreamt; bands are 95 % intervals."
    return [
        _question("How far ahead does it hold?", " ".join(sentences)),
        picture("trust_drift.png", assets, caption),
        f"<figcaption>{caption}</figcaption>",
    ]


def _uncertainty(found: Mapping[str, Any], assets: Mapping[str, bytes]) -> list[str]:
    sentences = []
    for what, horizons in found["errors"].items():
        first = next(iter(horizons.values()), None)
        if first is not None:
            sentences.append(
                f"After one chunk it tells the worst {found['worst_share']:.0%} of errors of {what.replace('_', ' ')} "
                f"from the others with an area under the curve of {_value(first['auroc'])}; a bound made of it covers "
                f"{_share(first['coverage'])} of errors where {found['level']:.0%} were asked for."
            )
    caption = "How many of the worst errors are found, at how many false alarms; on the line uncertainty tells nothing."
    return [
        _question("Does it know when it is wrong?", " ".join(sentences)),
        picture("trust_uncertainty.png", assets, caption),
        f"<figcaption>{caption}</figcaption>",
    ]


def _exploit(found: Mapping[str, Any], assets: Mapping[str, bytes]) -> list[str]:
    settings = found["settings_measured"]
    gaps = [f"{name}: {_value(figures['gap'], signed=True)}" for name, figures in settings.items()]
    text = (
        "An adversary looks for chunks of which the dream promises most; the replica executes them. Imagined less true "
        f"progress, {settings['adversary']['starts']} starts: {'; '.join(gaps)}."
    )
    caption = "Progress gained by the same chunks, imagined and true. What lies between was exploited, not earned."
    return [
        _question("Can it be fooled?", text),
        picture("trust_exploit.png", assets, caption),
        f"<figcaption>{caption}</figcaption>",
    ]


def _question(title: str, text: str, careful: Sequence[str] = ()) -> str:
    notes = "".join(f'<p class="faint">{escape(note)}</p>' for note in careful)
    return f"<h3>{escape(title)}</h3>\n<p>{escape(text)}</p>\n{notes}"


def _value(figure: Mapping[str, Any], name: str = "", *, signed: bool = False) -> str:
    """`0.97 (0.81 to 1.00)`; what could not be computed says so."""
    value, (low, high) = figure[name or "value"], figure[f"{name}_ci95" if name else "ci95"]
    if value is None or value != value:
        return "not computable"
    sign = "+" if signed else ""
    if low is None or low != low:
        return f"{value:{sign}.2f}"
    return f"{value:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


def _share(figure: Mapping[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.0%} ({low:.0%} to {high:.0%})"
