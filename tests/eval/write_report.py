"""The report as Markdown, out of figures."""
import math

from figures import INFINITE, quantile, wilson

KINDS = {"A1": "Guessing names", "A2": "Guessing, split over sources", "A3": "Reverse sweeps", "A4": "Walking and sampling signed zones",
         "A5": "Zone transfers", "A6": "Profiling of servers", "A7": "Names that only history knows", "A8": "Canaries",
         "A9": "Targeted, existing rare names", "A10": "Harvesting from inside", "A11": "Evasive"}


def number(value):
    if value == INFINITE:
        return "never"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".rstrip("0").rstrip(".")


def interval(hits, total):
    low, high = wilson(hits, total)
    return f"{hits}/{total} [{low:.2f}, {high:.2f}]"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def benign_section(figures):
    lines = ["## False alerts", "",
             "Weeks that nothing was tuned on. An alert is a finding that first reaches severity 2; a day is a tenant's day over 50 sites. Days of training are left out (day 1 is shown beside); the worst mix counts.", ""]
    rows = []
    for week in figures.held:
        first = week.engine(figures.budgets[0])
        detectors = {}
        for alert in first["alerts"]:
            detectors[alert["detector"]] = detectors.get(alert["detector"], 0) + 1
        rows.append([week.name, f"{first['rows']:,}", f"{first['trials']:,}", sum(alert["hour"] < 1 for alert in first["alerts"]),
                     number(week.alerts_a_day(figures.budgets[0], [0]))] +
                    [number(week.alerts_a_day(budget)) for budget in figures.budgets] +
                    [" ".join(f"{name}:{count}" for name, count in sorted(detectors.items())) or "none"])
    lines += table(["mix", "rows", "trials", "hour 1, nothing known", "day 1"] + [f"a day, budget {budget:g}" for budget in figures.budgets] + ["detectors, whole week"], rows)
    worst = figures.worst[figures.budget]
    if figures.keeps_promise:
        lines.append(f"**Operating point: budget {figures.budget:g}**, {number(worst[0])} false alerts a day on the worst mix ({worst[1]}).")
    else:
        lines.append(f"**The promise of one false alert a day is not kept at any budget that was run**: at budget {figures.budget:g} the worst mix ({worst[1]}) "
                     f"has {number(worst[0])} a day. Recall below is at that budget, and is therefore flattered.")
    return lines + [""]


def what_fired(figures):
    lines = ["### What was falsely alerted", "", "The first three of each mix at budget " + f"{figures.budgets[0]:g}, cold day included.", ""]
    rows = []
    for week in figures.held:
        for alert in week.engine(figures.budgets[0])["alerts"][:3]:
            rows.append([week.name, f"{alert['hour']:.1f}", alert["detector"], alert["severity"], alert["score"], alert["title"].replace("|", "/")])
    return lines + table(["mix", "hour", "detector", "severity", "nats", "title"], rows)


def reliability(figures):
    """What findings say of their confidence against what came, with one attack a week among the held benign days."""
    days = sum(week.result["days"] for week in figures.held)
    false = [alert["confidence"] for week in figures.held for alert in week.engine(figures.budgets[0])["alerts"] if alert["detector"] != "flood"]
    true = [alert["confidence"] for attack in figures.attacks for engine in attack.mesh(figures.budgets[0]) for alert in engine.get("alerts", []) if alert["attack"]]
    if not true or not days:
        return []
    rows, low = [], 0.0
    for high in (0.5, 0.8, 0.9, 0.95, 1.0):
        stated = [value for value in true + false if low < value <= high]
        if stated:
            good, bad = sum(low < value <= high for value in true) / len(true) / 7, sum(low < value <= high for value in false) / days
            rows.append([f"{low:g} to {high:g}", sum(low < value <= high for value in true), sum(low < value <= high for value in false),
                         f"{sum(stated) / len(stated):.2f}", f"{good / (good + bad):.2f}" if good + bad else "-"])
        low = high
    head = ["stated, last revision", "findings of attacks", "false findings", "stated, mean", "true, at one attack a week"]
    return ["### Confidence", "", f"A finding's confidence (docs/DETECTIONS.md) by its furthest revision, against the share of true ones when one attack of the plan comes a week "
            f"among the {days} held benign days; an attack's cells count alike.", ""] + table(head, rows)


def calibration_section(figures):
    lines = ["## Calibration", "",
             "The scope promises a budget of false alerts a day; this is what came, on the judged days of all held weeks together and on the worst.", ""]
    rows = []
    for budget in figures.budgets:
        days = sum(len(week.judged) for week in figures.held)
        total = sum(week.alerts_a_day(budget) * len(week.judged) for week in figures.held)
        rows.append([f"{budget:g}", f"{total:.0f} in {days} days", number(total / max(1, days)), f"{number(figures.worst[budget][0])} ({figures.worst[budget][1]})"])
    lines += table(["promised a day", "came", "a day, all mixes", "a day, worst mix"], rows)
    lines += reliability(figures)
    over = [alert["score"] - alert["threshold"] for week in figures.held for alert in week.engine(figures.budgets[0])["alerts"] if alert["threshold"]]
    if over:
        steps = [(x, sum(value > x for value in over) / len(over), math.exp(-x)) for x in (0.5, 1, 2, 3, 5)]
        lines += table(["x", "share of false alerts with score - threshold > x", "e^-x"], [[x, f"{seen:.3f}", f"{law:.3f}"] for x, seen, law in steps])
    else:
        lines += ["Findings do not state their threshold, so the tail of score minus threshold cannot be held against e^-x yet.", ""]
    return lines


def baseline_section(figures):
    lines = ["## Baselines", "",
             "Each at the level its authors published, and re-tuned: the lowest level with at most "
             f"{number(figures.allowed)} false alerts a day on the worst tuning week: one, or what the engine itself has where that is more.", ""]
    rows = []
    for rule in figures.published:
        published, level = figures.published_level(rule), figures.level[rule]
        worst = max((week.baseline_a_day(rule, published), week.name) for week in figures.held)
        tuned = max(week.baseline_a_day(rule, level) for week in figures.held) if level is not None else None
        rows.append([rule, figures.published[rule], f"{number(worst[0])} ({worst[1]})", figures.levels[level] if level is not None else "none",
                     number(tuned) if tuned is not None else "-"])
    return lines + table(["rule", "published", "a day, worst held", "re-tuned", "a day, worst held"], rows)


def attack_rows(attacks):
    rows = []
    for attack in attacks:
        hits, total = attack.recall()
        best, singles = attack.best_baseline(), attack.singles()
        if singles is None:
            gain = ""
        else:
            single, mesh = quantile(singles, 0.5), quantile(attack.to_detect("seconds"), 0.5)
            gain = "-" if mesh == INFINITE else "only mesh" if single == INFINITE else f"{single / max(mesh, 1e-9):.1f}x"
        rows.append([" ".join(attack.title.split()[1:]), interval(hits, total), number(quantile(attack.to_detect("queries"), 0.5)),
                     number(quantile(attack.to_detect("queries"), 0.9)), number(quantile(attack.to_detect("seconds"), 0.5)), f"{100 * attack.lost():.0f} %",
                     f"{number(attack.findings())} / {100 * attack.covered():.0f} %", gain,
                     f"{best[0]:.2f} {number(best[1])} {best[2]}" if best[2] else "none", " ".join(attack.detectors())])
    return rows


def attack_section(figures):
    lines = ["## Attacks", "",
             f"At budget {figures.budget:g}. Recall with its 95 % interval (Wilson; 20 of 20 is still only [0.84, 1]); queries whose rows had reached the engine when the "
             "alert came, median and p90 with misses counted as never; seconds from the first query; *lost*: share of the existing names of the zones asked that the actor "
             "had by then; findings of one campaign, and the share of its sources they name (a finding lists at most twenty addresses); *gain*: seconds of the better of two single sites over those of the mesh; the best "
             "re-tuned baseline by recall, then by median queries.", ""]
    for kind, title in KINDS.items():
        attacks = [attack for attack in figures.attacks if attack.cell.what == kind and not attack.is_impossible]
        if attacks:
            lines += [f"### {kind} {title}", ""]
            lines += table(["cell", "recall", "queries", "p90", "seconds", "lost", "findings / sources", "gain", "best baseline", "by"], attack_rows(attacks))
    return lines


def cold_start_section(figures):
    """The same attack on an engine that knows nothing, a day, a week."""
    ages = ("0", "1", "7")
    rows = {}
    for attack in figures.attacks:
        options = attack.cell.options
        plain = set(options) <= {"rate", "sites", "sources", "queries", "gain", "list", "scale", "age", "hours", "split", "overlap", "seeds"}
        if attack.is_impossible or not plain or attack.cell.what not in ("A1", "A2") or options.get("rate") != "1" or options.get("overlap", "0") != "0":
            continue
        if options.get("split", "interleave") == "interleave":
            key = (options.get("list", "popular"), options.get("sites", "1"), options.get("sources", "1"))
            hits, total = attack.recall()
            rows.setdefault(key, {})[options.get("age", "0")] = f"{hits}/{total}, {number(quantile(attack.to_detect('queries'), 0.5))}"
    kept = [[name, sites, sources] + [by_age.get(age, "-") for age in ages] for (name, sites, sources), by_age in rows.items() if len(by_age) > 1]
    lines = ["## Cold start", "", "One query a second; seeds found, and the median of queries, by how long the engine has known the place. Benign weeks show the other side: hour 1, day 1, later.", ""]
    return lines + table(["list", "sites", "sources", "hour 0", "day 1", "day 7"], kept) if kept else []


def listed(attacks, say):
    return [f"- {attack.title}: {say(attack)}" for attack in attacks] or ["- none"]


def lists_section(figures):
    possible = [attack for attack in figures.attacks if not attack.is_impossible]
    only_mesh = [a for a in possible if a.singles() is not None and a.share() >= 0.5 and quantile(a.singles(), 0.5) == INFINITE]
    beyond = [a for a in possible if a.share() >= 0.5 and a.best_baseline()[0] < 0.1]
    missed = [a for a in possible if a.share() < 0.5]
    beaten = [a for a in possible if a.best_baseline()[0] > a.share()]
    slower = [a for a in possible if a.share() >= 0.95 and a.best_baseline()[0] >= 0.95 and a.best_baseline()[1] < quantile(a.to_detect("queries"), 0.5)]
    not_run = [a for a in figures.attacks if a.is_impossible]
    lines = ["## Named", ""]
    for title, attacks, say in (
            ("Missed: less than half of the seeds found", missed, lambda a: f"{interval(*a.recall())}; best baseline {a.best_baseline()[0]:.2f} {a.best_baseline()[2]}"),
            ("A re-tuned baseline finds more", beaten, lambda a: f"{a.share():.2f} against {a.best_baseline()[0]:.2f} of {a.best_baseline()[2]}"),
            ("A re-tuned baseline finds as many with fewer queries", slower,
             lambda a: f"{number(quantile(a.to_detect('queries'), 0.5))} against {number(a.best_baseline()[1])} of {a.best_baseline()[2]}"),
            ("Found by the mesh, by neither of two single sites", only_mesh, lambda a: interval(*a.recall())),
            ("Found, and by no re-tuned baseline", beyond, lambda a: interval(*a.recall())),
            ("Not run: the words are not on this machine", not_run, lambda a: "")):
        lines += [f"### {title} ({len(attacks)})", ""] + listed(attacks, say) + [""]
    return lines


def bar(name, attacks, needed, queries=None):
    """Each cell by itself has to hold."""
    if not attacks:
        return [name, "no such cell", ""]
    bad = [a for a in attacks if a.share() < needed or (queries and quantile(a.to_detect("queries"), 0.5) > queries)]
    return [name, f"{len(attacks) - len(bad)} of {len(attacks)} cells", "holds" if not bad else "; ".join(a.title for a in bad[:4]) + (" ..." if len(bad) > 4 else "")]


def bars_section(figures):
    def cells(kind, **wanted):
        return [a for a in figures.attacks if a.cell.what == kind and not a.is_impossible and
                all(str(a.cell.options.get(key, default)) in values for key, (default, values) in wanted.items())]

    single = [a for a in cells("A1", sources=("1", {"1"}), path=("direct", {"direct"}), wildcard=("0", {"0"})) if "/" not in a.cell.options.get("rate", "1")]
    several = [a for a in cells("A1", sources=("1", {"10", "100"}), path=("direct", {"direct"})) if "/" not in a.cell.options.get("rate", "1")]
    rows = [bar("A1, one source: recall >= 0.95 within 30 queries", single, 0.95, 30),
            bar("A1, 10 and 100 sources: >= 0.9", several, 0.9),
            bar("A1, 1,000 sources: found within a tenth of the list (200 queries)", cells("A1", sources=("1", {"1000"})), 0.9, 200),
            bar("list not in any word set: >= 0.95 within 30", cells("A1", list=("popular", {"heldout", "made"}), sources=("1", {"1"})), 0.95, 30),
            bar("zone with a wildcard: >= 0.95", cells("A1", wildcard=("0", {"1"})), 0.95),
            bar("inside a busy public resolver: >= 0.9", cells("A1", path=("direct", {"busy"})), 0.9),
            bar("A4: within 10 queries", cells("A4", order=("nsec", {"nsec", "behind"})), 0.95, 10), bar("A5: 1.0", cells("A5"), 1.0),
            bar("A7, 3 retired names or more: >= 0.9", cells("A7", k=("10", {"3", "10"})), 0.9), bar("A8: 1.0", cells("A8"), 1.0),
            bar("A9, 15 names or more: found", cells("A9", k=("10", {"15", "20"})), 0.5),
            ["false alerts: <= 1 a day on the worst mix", f"{number(figures.worst[figures.budgets[0]][0])} at budget {figures.budgets[0]:g}",
             "holds" if figures.worst[figures.budgets[0]][0] <= 1 else figures.worst[figures.budgets[0]][1]]]
    return ["## The bars", ""] + table(["bar", "cells that hold", "fails in"], rows)


def cost_section(figures):
    rows = []
    for week in figures.held:
        engine = week.engine(figures.budgets[0])
        rows.append([week.name, f"{engine['rows']:,}", f"{engine['rows'] / max(engine['cpu_s'], 1e-9):,.0f}", f"{1e6 * engine['cpu_s'] / max(engine['trials'], 1):.2f}",
                     f"{engine['actors']:,}", f"{engine['contacts']:,}", f"{engine['evicted_contacts']:,}", f"{engine['state_bytes'] / 1e6:.1f} MB"])
    return ["## Cost", "", "Engine alone, one core, clock of the process; state as saved at the end of the week.", ""] + table(
        ["mix", "rows", "rows a CPU second", "CPU s a million trials", "actors", "contacts", "contacts evicted", "state"], rows)


def packets_section(packets):
    if not packets:
        return []
    rows = [[line, "equal" if not problem else problem] for line, problem in packets]
    return ["## As packets", "", "The same hour of traffic as one capture a site, through `picket-sensor --write` and `picket-aggregator replay`: rows, trials and alerts "
            "against those of the engine in-process.", ""] + table(["cell", "outcome"], rows)


def report(figures, about, packets, pictures):
    lines = ["# Evaluation", "",
             "Made by `tests/run --long eval`; not edited by hand. How it is done: `tests/eval/README.md`. Workload: " + about["plan"] + ", " + about["commit"] + ", " + about["date"] + ".", ""]
    if about["complaints"]:
        lines += ["**Cells that did not run:**", ""] + [f"- {text}" for text in about["complaints"]] + [""]
    lines += bars_section(figures) + benign_section(figures)
    lines += [f"![{alt}]({name})\n" for name, alt in pictures]
    lines += calibration_section(figures) + baseline_section(figures) + attack_section(figures) + cold_start_section(figures) + lists_section(figures) + cost_section(figures)
    lines += packets_section(packets) + what_fired(figures)
    return "\n".join(lines)
