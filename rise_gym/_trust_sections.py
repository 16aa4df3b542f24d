"""What a report says of each thing that was asked of a dream: words, a picture and tables, of recorded figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rise_gym._figure_text import (
    chunks_text,
    counted,
    number_of,
    points_text,
    share_text,
    value_text,
)
from rise_gym._report_html import table
from rise_gym._verdicts import LEARNERS, WITHOUT_UNCERTAINTY

if TYPE_CHECKING:
    from rise_gym.trust import TrustFigures

Record = Mapping[str, Any]

ROBOT = "Do dream, replica and robot agree?"
RANKING, DRIFT = "Does it rank policies rightly?", "How far ahead does it hold?"
DEVIATIONS = "Does it know what a deviation is worth?"
FIDELITY, CALIBRATION = "Does it do as it is told?", "Do its claims come true?"
UNCERTAINTY, EXPLOIT = "Does it know when it is wrong?", "Can it be fooled?"
LEARNT, ROUNDS = "Does learning in it help?", "Does a second round help?"
MEASURED_BY = {
    RANKING: "python benchmarks/imagined_vs_real.py",
    DRIFT: "python benchmarks/drift.py",
    DEVIATIONS: "python benchmarks/deviations.py",
    UNCERTAINTY: "python benchmarks/uncertainty.py",
    CALIBRATION: "python benchmarks/calibration.py",
    EXPLOIT: "python benchmarks/exploit.py",
    FIDELITY: "python benchmarks/action_fidelity.py",
    LEARNT: "python benchmarks/reinforcement.py",
    ROUNDS: "python benchmarks/rounds.py",
}
"""All sections in their order, and what measures them; that on a robot, behind the first, is there for who has one."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One of them.

    Attributes:
        title: `ROBOT`, or one of `MEASURED_BY`. text: paragraphs, plain. careful: what speaks against conclusions.
        picture: an asset's name, and the caption below it. tables: HTML.
    """

    title: str
    text: tuple[str, ...]
    careful: tuple[str, ...] = ()
    picture: str = ""
    caption: str = ""
    tables: tuple[str, ...] = ()


def sections(trust: TrustFigures) -> Iterator[Section]:
    """Those of what was measured."""
    from rise_gym._report_robot import robot_section

    if trust.compared is not None:
        yield _ranking(trust.compared)
        if "robot" in trust.compared:
            yield robot_section(trust.compared)
    if trust.drift is not None:
        yield _drift(trust.drift)
    if trust.deviations is not None:
        yield _deviations(trust.deviations)
    if trust.uncertainty is not None:
        yield _uncertainty(trust.uncertainty)
    if trust.calibration is not None:
        yield _calibration(trust.calibration)
    if trust.exploit is not None:
        yield _exploit(trust.exploit)
    if trust.fidelity is not None or trust.dynamics is not None:
        yield _fidelity(trust.fidelity, trust.dynamics)
    if trust.learnt:
        yield _learnt(trust.learnt)
    if trust.rounds is not None:
        yield _rounds(trust.rounds)


def _ranking(found: Record) -> Section:
    success = found["agreement"]["success"]
    text = (
        f"{len(found['policies'])} policies, {found['episodes']} matched episodes each: imagined against true success, "
        f"Pearson {value_text(success['pearson'])}, Spearman {value_text(success['spearman'])}."
    )
    if (cost := number_of(success.get("mmrv", {}))) is not None:
        text += (
            f" Who trusts the imagined ranking is wrong by up to {100 * cost:.1f} points of success, on the mean over "
            "policies (MMRV)."
        )
    wrong, told = found.get("false_success"), ""
    if wrong:
        told = (
            f"Of {wrong['dreamt_successes']} dreams that end in success, the same policy fails from the same start in "
            f"{wrong['false_successes']}; of its successes {wrong['missed_successes']} were dreamt to fail."
        )
    return Section(
        title=RANKING,
        text=(text, told),
        careful=tuple(f"Careful: {doubt}." for doubt in found.get("doubts", ())),
        picture="trust_ranking.png",
        caption="Imagined against true, a dot a policy; on the line both are equal. Orange: who exploits the dream.",
        tables=(_agreement(found["agreement"]), *([] if "robot" in found else [_policies(found["policies"])])),
    )


def _agreement(agreement: Record) -> str:
    from rise_gym._trust_plots import FIGURES

    names = ("pearson", "spearman", "mmrv")
    rows = [
        (FIGURES.get(name, name), *[value_text(one[statistic]) if statistic in one else "-" for statistic in names])
        for name, one in agreement.items()
    ]
    return table(("over policies", "Pearson", "Spearman", "MMRV, in the figure's unit"), rows)


def _policies(rows: Sequence[Record]) -> str:
    units = (("success", "{:.0%}"), ("score", "{:.1f}"), ("episode_return", "{:.2f}"))
    lines = [
        (
            str(row["policy"]) + (f", noise {row['noise']:g}" if row.get("noise") else ""),
            *[unit.format(row[side][name]) for name, unit in units for side in ("true", "imagined")],
        )
        for row in sorted(rows, key=lambda row: (-row["true"]["success"], -row["true"]["score"]))
    ]
    return table(("policy", "success", "imagined", "score", "imagined", "return", "imagined"), lines)


def _drift(found: Record) -> Section:
    sentences = []
    for outcome, figures in found["drift"].items():
        picture_db, progress = figures["psnr_db"]["value"], figures["progress"]["value"]
        last = max(n for n, count in enumerate(figures["count"]) if count)
        sentences.append(
            f"Episodes that end in {outcome}: pictures from {picture_db[0]:.1f} to {picture_db[last]:.1f} dB and "
            f"progress wrong by {progress[0]:.2f} to {progress[last]:.2f}, after one chunk and after {last + 1}."
        )
    ranking = found.get("ranking")
    tables = [_errors_by_horizon(found["drift"])]
    if ranking:
        end, most = ranking["breaks_after"], len(ranking["within_a_state"])
        sentences.append(
            f"Sequences that branch from one state are ranked rightly over all {most} chunks."
            if end is None
            else f"Sequences that branch from one state are ranked (Spearman {ranking['level']:g} or more) for "
            f"{counted(end, 'chunk')}, then no longer."
        )
        pairs = zip(ranking["within_a_state"], ranking["over_policies"], strict=True)
        rows = [(str(number), value_text(one), value_text(other)) for number, (one, other) in enumerate(pairs, 1)]
        tables.append(table(("chunks", "Spearman within a state", "over policies"), rows))
    return Section(
        title=DRIFT,
        text=(" ".join(sentences),),
        picture="trust_drift.png",
        caption="Error of dreams of recorded actions against how many chunks were dreamt; bands are 95 % intervals.",
        tables=tuple(tables),
    )


def _errors_by_horizon(outcomes: Record) -> str:
    units = (("psnr_db", "PSNR, dB", "{:.1f}"), ("progress", "progress", "{:.2f}"))
    columns = [f"{label}, {outcome}" for outcome in outcomes for _, label, _ in units]
    most = max(len(figures["count"]) for figures in outcomes.values())
    rows = [
        (str(number + 1), *[_at(figures[name]["value"], number, unit)
                            for figures in outcomes.values() for name, _, unit in units])
        for number in range(most)
    ]  # fmt: skip
    return table(("chunks", *columns), rows)


def _at(values: Sequence[float | None], number: int, unit: str) -> str:
    value = values[number] if number < len(values) else None
    return "-" if value is None or value != value else unit.format(value)


def _deviations(found: Record) -> Section:
    text = (
        f"Rollouts recorded with noise, {found['episodes']} episodes of {found['moments']} chunks: what the dream "
        "finds an executed chunk worth more than the policy's own, against the progress that followed, beyond what "
        "the state alone lets expect. RISE learns from such differences."
    )
    rows = [
        (f"{row['ticks']} ticks", value_text({"value": row["correlation"], "ci95": row["ci95"]}))
        for row in found["after_ticks"]
    ]
    return Section(title=DEVIATIONS, text=(text,), tables=(table(("after", "partial correlation"), rows),))


def _uncertainty(found: Record) -> Section:
    sentences, rows = [], []
    for what, horizons in found["errors"].items():
        name = what.replace("_", " ")
        for number, (horizon, one) in enumerate(horizons.items()):
            coverage = share_text(one["coverage"]) if "coverage" in one else "-"
            rows.append((f"{name}, {chunks_text(horizon)}", str(one.get("count", "-")), value_text(one["auroc"]),
                         coverage, *_bounds(one)))  # fmt: skip
            if number == 0:
                sentences.append(
                    f"After one chunk it tells the worst {found['worst_share']:.0%} of errors of {name} from the "
                    f"others with an area under the curve of {value_text(one['auroc'])}; a bound made of it covers "
                    f"{coverage} of errors where {found['level']:.0%} were asked for."
                )
    if cost := found.get("cost"):
        sentences.append(
            f"It costs: a dream step takes {cost['ratio']:.2f} times as long as without ({cost['step_s']:.1f} and "
            f"{cost['step_without_s']:.1f} s, beside whatever else ran)."
        )
    columns = ("error of", "dreams", "AUROC", "covered by the bound", "mean bound", "one bound for all")
    return Section(
        title=UNCERTAINTY,
        text=(" ".join(sentences),),
        picture="trust_uncertainty.png",
        caption="How many of the worst errors are found, at how many false alarms; on the line uncertainty tells "
        "nothing.",
        tables=(table(columns, rows),),
    )


def _bounds(one: Record) -> list[str]:
    found = [number_of(one, name) for name in ("mean_bound", "mean_constant_bound")]
    return ["-" if value is None else f"{value:.3g}" for value in found]


def _calibration(found: Record) -> Section:
    wrong, success = found["false_success"], found["success"]
    text = (
        f"Of {success['count']} recorded episodes {success['happened_mean']:.0%} succeed; of their dreams, with "
        f"the same actions, {success['claimed_mean']:.0%}. "
    )
    if wrong["dreamt_successes"]:
        share = wrong["of_dreamt_successes"]
        text += (
            f"{wrong['false_successes']} of {wrong['dreamt_successes']} dreamt successes are none: "
            f"{share_text(share)}. "
        )
    else:
        text += "No dream ends in success. "
    first = next(iter(found["progress"].items()), None)
    if first is not None:
        text += f"Imagined progress is off by {value_text(first[1], 'calibration_error')} one chunk ahead."
    claims = {"success": success}
    claims |= {f"progress, {chunks_text(name)} ahead": one for name, one in found["progress"].items()}
    rows = [
        (name, str(one["count"]), f"{one['claimed_mean']:.2f}", f"{one['happened_mean']:.2f}",
         value_text(one, "calibration_error"))
        for name, one in claims.items()
    ]  # fmt: skip
    return Section(
        title=CALIBRATION,
        text=(text,),
        picture="trust_calibration.png",
        caption="What is claimed against what was true; on the line a claim is right. Grey: fewer than five claims.",
        tables=(table(("claim", "dreams", "claimed", "true", "error"), rows),),
    )


def _exploit(found: Record) -> Section:
    settings = found["settings_measured"]
    gaps = [f"{name}: {value_text(figures['gap'], signed=True)}" for name, figures in settings.items()]
    starts = next(iter(settings.values()))["starts"]
    text = (
        "An adversary looks for the whole dream of the largest return; the replica executes its chunks. Imagined "
        f"less true progress, {starts} starts: {'; '.join(gaps)}."
    )
    rows = [
        (name, "without" if name in WITHOUT_UNCERTAINTY else "with", f"{one['chunks']:.3g}",
         *[value_text(one[side], signed=True) for side in ("imagined", "true", "gap")])
        for name, one in settings.items()
    ]  # fmt: skip
    return Section(
        title=EXPLOIT,
        text=(text,),
        picture="trust_exploit.png",
        caption="Progress gained by the same chunks, imagined and true. What lies between was exploited, not earned.",
        tables=(table(("who", "uncertainty", "chunks", "imagined", "true", "gap"), rows),),
    )


def _fidelity(gate: Record | None, dynamics: Record | None) -> Section:
    text, tables = [], []
    if gate is None:
        text.append("The gate on single commands was not measured.")
    else:
        text.append(
            f"From {gate['starts']} starts one arm or hand is told to move: its own wrist's picture has to change, the "
            "other's hardly, and as in the replica. Greys are of 255."
        )
        rows = [(name, *_command(one)) for name, one in gate["commands"].items()]
        columns = ("told to", "own wrist, grey", "other wrist, grey", "like the truth", "gate")
        tables.append(table(columns, rows))
    if dynamics is not None:
        text.append(
            f"With shuffled actions pictures are wrong {dynamics['shuffled_actions']['ratio']:.1f} times as much "
            "(asked: twice)."
        )
        hard = dynamics.get("counterfactual") or {}
        names = ("difference_correlation", "best_in_top_three")
        if all(name in hard for name in names):
            text.append(
                f"Of eight chunks from one state, what they change in pictures correlates with the truth at "
                f"{value_text(hard[names[0]])} (asked: 0.7), and the best is among the dream's best three in "
                f"{share_text(hard[names[1]])} of states."
            )
    return Section(title=FIDELITY, text=tuple(text), tables=tuple(tables))


def _command(one: Record) -> list[str]:
    failed = [check for check, passed in one["passed"].items() if not passed]
    likeness = number_of(one, "true_correlation")
    return [
        f"{one['own_grey']:.1f}",
        f"{one['others_grey']:.1f}",
        "-" if likeness is None else f"{likeness:.2f}",
        f"failed as {' and '.join(failed)}" if failed else "passed",
    ]


def _learnt(rows: Sequence[Record]) -> Section:
    names = [row["name"] for row in rows]
    missing = [name for name in LEARNERS if name not in names]
    text = (
        "Policies that learnt in the dream (RISE; PPO and SAC of Stable-Baselines3), played in the replica; gains are "
        "over the base on the same seeds."
    )
    return Section(
        title=LEARNT,
        text=(text, f"Not measured: {', '.join(missing)}." if missing else ""),
        tables=(_played(rows, "points above the base"),),
    )


def _rounds(found: Record) -> Section:
    pairs = [
        (name, points_text(row, "success_points"), str(row["only_first_succeeds"]), str(row["only_second_succeeds"]))
        for name, row in found["paired"].items()
    ]
    text = "Policy and world model in turn, against one round with as many new episodes and gradient steps."
    columns = ("difference", "points of success", "only the first succeeds", "only the second")
    return Section(title=ROUNDS, text=(text,), tables=(_played(found["rows"]), table(columns, pairs)))


def _played(rows: Sequence[Record], *points: str) -> str:
    lines = [
        (row["name"] + (f": {row['note']}" if row.get("note") else ""), str(row["episodes"]),
         share_text({"value": row["success_rate"], "ci95": row["success_ci95"]}, digits=1),
         *[points_text(row) for _ in points])
        for row in rows
    ]  # fmt: skip
    return table(("policy", "episodes", "success", *points), lines)
