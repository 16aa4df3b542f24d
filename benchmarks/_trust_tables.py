"""Tables of how far dreams can be trusted: ranking, drift, calibration, uncertainty, and what an adversary finds."""

from __future__ import annotations

import _common as common
from _markdown import Json, interval_of, percent, table, with_interval

from rise_gym._trust_plots import FIGURES
from rise_gym.tasks import TASKS

POLICY_COLUMNS = ("policy", "success", "imagined", "score", "imagined", "gain of two chunks", "imagined")
SIDES = ("imagined", "true", "gap")


def imagined_vs_real(recorded: Json) -> list[str]:
    parts: list[str] = []
    for title, found in recorded["tasks"].items():
        if found.get("unfinished"):
            parts.append(f"## Trust: {title}, unfinished: {found['policies_count']} policies so far")
            continue
        agreement = [
            (FIGURES[name], *[cell for label in ("pearson", "spearman", "mmrv") for cell in
                              with_interval(found[name][label])])
            for name in FIGURES
        ]  # fmt: skip
        wrong = found["false_success"]
        task = next(card.name for card in TASKS.values() if card.title == title)
        parts += [
            f"## Trust: {title} ({found['policies_count']} policies, {found['starts']} matched starts each)",
            "Aim: Pearson of success at least 0.95 with a lower bound of 0.85, MMRV at most 0.03. MMRV is in the "
            "figure's own unit; intervals are of a bootstrap over policies.",
            table(("over policies", "Pearson", "95 %", "Spearman", "95 %", "MMRV", "95 %"), agreement),
            table(POLICY_COLUMNS, _policies(found["policies"])),
            f"Of {wrong['dreamt_successes']} dreams that end in success, the same policy fails from the same start in "
            f"{wrong['false_successes']}; of its successes {wrong['missed_successes']} were dreamt to fail.",
            *[f"Careful: {doubt}." for doubt in found["doubts"]],
            f"![imagined against true](imagined_vs_real_{task}.png)",
        ]
    return parts


def drift(recorded: Json) -> list[str]:
    rows = [
        (outcome, number + 1, found["count"][number],
         *[found[name]["value"][number] for name in ("psnr_db", "joint_rad", "gripper_m", "progress", "progress_bias")])
        for outcome, found in recorded["drift"].items()
        for number in range(len(found["count"]))
    ]  # fmt: skip
    columns = ("episodes", "chunks", "dreams", "PSNR, dB", "joints, rad", "grippers, m", "progress", "imagined - true")
    parts = [
        _heading("Drift", recorded, f"{recorded['episodes']} held-out episodes, dreamt with their own actions"),
        "Mean absolute errors after so many chunks; no aim was set.",
        table(columns, rows),
    ]
    if ranking := recorded.get("ranking"):
        end = ranking["breaks_after"]
        ranks = [
            (number + 1, *with_interval(within), *with_interval(over))
            for number, (within, over) in enumerate(
                zip(ranking["within_a_state"], ranking["over_policies"], strict=True)
            )
        ]
        told = "holds as far as it was measured" if end is None else f"holds for {end} chunks, then breaks"
        parts += [
            table(("chunks", "Spearman within a state", "95 %", "over policies", "95 %"), ranks),
            f"Six policies play on from each of {ranking['states']} states: their ranking {told} (level "
            f"{ranking['level']}).",
        ]
    return [*parts, _picture("drift", "drift", recorded)]


def calibration(recorded: Json) -> list[str]:
    claims = {"success, share of dreams": recorded["success"]}
    claims |= {f"progress, {name.replace('_', ' ')}": found for name, found in recorded["progress"].items()}
    wrong = recorded["false_success"]
    rows = [
        (name, found["count"], found["claimed_mean"], found["happened_mean"], found["calibration_error"],
         interval_of(found["calibration_error_ci95"]))
        for name, found in claims.items()
    ]  # fmt: skip
    episodes = f"{recorded['episodes']} held-out episodes, {recorded['dreams']} dreams each"
    return [
        _heading("Calibration", recorded, episodes),
        "The error is the mean difference of what is claimed and what happened, over bins of equal claims.",
        table(("claim", "n", "claimed", "true", "error", "95 %"), rows),
        f"Of {wrong['dreamt_successes']} dreamt successes {wrong['false_successes']} are none; "
        f"{wrong['missed_successes']} dreams of episodes that succeed fail.",
        _picture("reliability", "calibration", recorded),
    ]


def uncertainty(recorded: Json) -> list[str]:
    rows = [
        (what.replace("_", " "), name.removeprefix("chunks_"), found["count"], *with_interval(found["auroc"]),
         percent(found["coverage"]["value"]), interval_of(found["coverage"]["ci95"], 100, 0), found["mean_bound"],
         found["mean_constant_bound"])
        for what, horizons in recorded["errors"].items()
        for name, found in horizons.items()
    ]  # fmt: skip
    columns = ("error of", "chunks", "dreams", "AUROC", "95 %", "coverage", "95 %", "mean bound", "one bound for all")
    cost = recorded["cost"]
    return [
        _heading("Uncertainty", recorded, f"{recorded['episodes']} held-out episodes, dreamt with their own actions"),
        f"Asked: AUROC of at least 0.85 against the true error. Which errors are among the worst "
        f"{recorded['worst_share']:.0%}? Pictures: root mean square, of 255. A bound is so many times the uncertainty "
        f"that {recorded['level']:.0%} of the errors of other episodes lie below it.",
        table(columns, rows),
        f"It costs: a dream step takes {cost['ratio']:.2f} times as long as one that stops at the first noise level.",
        _picture("ROC of uncertainty", "uncertainty", recorded),
    ]


def exploit(recorded: Json) -> list[str]:
    rows = [
        (
            name,
            found["chunks"],
            *[cell for side in SIDES for cell in with_interval(found[side])],
        )
        for name, found in recorded["settings_measured"].items()
    ]
    starts = next(iter(recorded["settings_measured"].values()))["starts"]
    return [
        _heading("Exploit probe", recorded, f"{starts} starts"),
        "An adversary maximises the imagined return of whole dreams; imagined is what its chunks gain when dreamt "
        "again, and the replica executes them. Aim: a gap that shrinks with uncertainty.",
        table(("who", "chunks", "imagined", "95 %", "true", "95 %", "gap", "95 %"), rows),
        _picture("exploit probe", "exploit", recorded),
    ]


def _heading(what: str, recorded: Json, of: str) -> str:
    return f"## {what}{common.title_of_task(recorded)} ({of})"


def _picture(text: str, name: str, recorded: Json) -> str:
    """A plot that lies beside the page."""
    return f"![{text}]({name}{common.of_task(recorded.get('task', common.TASK))}.png)"


def action_fidelity(recorded: Json) -> list[str]:
    """What one arm is told, and where it shows."""
    parts: list[str] = []
    for task, found in recorded["tasks"].items():
        rows = [
            (name, one["own_grey"], one["others_grey"], one.get("true_correlation"),
             ", ".join(check for check, passed in one["passed"].items() if not passed) or "-")
            for name, one in found["commands"].items()
        ]  # fmt: skip
        columns = ("told to", "own wrist's picture, grey", "the other's", "like the truth", "fails as")
        parts += [f"## Action fidelity: {TASKS[task].title} ({found['starts']} starts)", table(columns, rows)]
    limits = (
        "`rise_gym.fidelity` says what is asked: what is told shows in its own wrist's picture, not in the other's."
    )
    return [*parts, limits]


def _policies(rows: list[Json]) -> list[tuple[object, ...]]:
    return [
        (row["policy"], percent(row["true"]["success"]), percent(row["imagined"]["success"]), row["true"]["score"],
         row["imagined"]["score"], row["true"]["gain"], row["imagined"]["gain"])
        for row in rows
    ]  # fmt: skip
