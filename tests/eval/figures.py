"""Figures out of results: intervals, operating points, re-tuned baselines, one summary a cell. No output here."""
import math
import statistics

INFINITE = float("inf")


def wilson(hits, total, z=1.959964):
    """Score interval of a share (Wilson 1927), 95 %."""
    if not total:
        return 0.0, 1.0
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def quantile(values, share):
    """Order statistic; infinite values are misses and stand last."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else INFINITE


class Benign:
    """A week of a mix: false alerts a day, by budget of the engine and by level of a baseline."""

    def __init__(self, cell):
        self.cell, self.result = cell, cell.result()
        self.is_tuning = cell.options.get("split") == "tune"
        self.judged = list(range(self.result["training"], self.result["days"]))

    @property
    def name(self):
        return self.cell.what + (" clear" if self.cell.options.get("clear") == "1" else "")

    def engine(self, budget):
        return next(engine for engine in self.result["engines"] if engine["budget"] == budget)

    def alerts_a_day(self, budget, days=None):
        days = self.judged if days is None else days
        return sum(self.engine(budget)["by_day"][day] for day in days) / len(days)

    def baseline_a_day(self, rule, level):
        return sum(self.result["baselines"][rule][day][level] for day in self.judged) / len(self.judged)


class Figures:
    """What the report says, computed once."""

    def __init__(self, cells, rules):
        self.levels, self.published = rules["levels"], rules["published"]
        self.benign = [Benign(cell) for cell in cells if cell.kind == "benign"]
        self.held = [week for week in self.benign if not week.is_tuning]
        self.tune = [week for week in self.benign if week.is_tuning]
        self.budgets = sorted({engine["budget"] for week in self.held for engine in week.result["engines"]}, reverse=True)
        self.worst = {budget: max((week.alerts_a_day(budget), week.name) for week in self.held) for budget in self.budgets}
        fair = [budget for budget in self.budgets if self.worst[budget][0] <= 1]
        self.keeps_promise = bool(fair)
        self.budget = fair[0] if fair else (self.budgets[-1] if self.budgets else 1)
        self.allowed = max(1.0, self.worst[self.budget][0]) if self.budgets else 1.0  # false alerts a day, the same for both sides
        self.level = {rule: self.retuned(rule) for rule in self.published}
        self.attacks = [Attack(cell, self) for cell in cells if cell.kind == "attack"]

    def retuned(self, rule):
        """The lowest level with no more false alerts a day on the worst tuning week than the engine has; None: there is none."""
        for level in range(len(self.levels)):
            if self.tune and max(week.baseline_a_day(rule, level) for week in self.tune) <= self.allowed:
                return level
        return None

    def published_level(self, rule):
        return next(i for i, level in enumerate(self.levels) if level >= self.published[rule])

    def curve(self, rule):
        """(false alerts a day on the worst held week, level) for each level."""
        return [(max(week.baseline_a_day(rule, level) for week in self.held), level) for level in range(len(self.levels))]


class Attack:
    """One cell: its seeds, judged at the operating point."""

    def __init__(self, cell, figures):
        self.cell, self.figures = cell, figures
        self.runs = [run for run in cell.result()["runs"] if "engines" in run]
        self.is_impossible = not self.runs
        self.title = f"{cell.what} " + " ".join(word for word in cell.line.split()[2:])

    def mesh(self, budget=None):
        budget = self.figures.budget if budget is None else budget
        engines = [[engine for engine in run["engines"] if engine["site"] < 0] for run in self.runs]
        return [next((engine for engine in run if engine["budget"] == budget), run[0]) for run in engines if run]

    def recall(self, budget=None):
        mesh = self.mesh(budget)
        return sum(engine["detected"] for engine in mesh), len(mesh)

    def share(self):
        hits, total = self.recall()
        return hits / total if total else 0.0

    def to_detect(self, what):
        """Queries or seconds until the alert, infinite when there was none."""
        return [engine[what] if engine["detected"] else INFINITE for engine in self.mesh()]

    def lost(self):
        return statistics.median(engine["learned"] / max(1, engine["existing"]) for engine in self.mesh())

    def findings(self):
        found = [engine["findings"] for engine in self.mesh() if engine["detected"]]
        return statistics.median(found) if found else 0

    def covered(self):
        return statistics.median(engine["covered"] / engine["sources"] for engine in self.mesh())

    def detectors(self):
        return sorted({engine["detector"] for engine in self.mesh() if engine["detector"]})

    def baseline_recall(self, rule, level):
        if level is None:
            return 0.0
        return sum(len(run["baselines"][rule]) > level for run in self.runs) / len(self.runs)

    def baseline_queries(self, rule, level):
        return [run["baselines"][rule][level][0] if len(run["baselines"][rule]) > level else INFINITE for run in self.runs]

    def best_baseline(self, published=False):
        """(recall, median queries, name) of the baseline that finds most, soonest."""
        best = (0.0, INFINITE, "")
        for rule in self.figures.published:
            level = self.figures.published_level(rule) if published else self.figures.level[rule]
            if level is None:
                continue
            recall = self.baseline_recall(rule, level)
            queries = quantile(self.baseline_queries(rule, level), 0.5)
            if (recall, -queries) > (best[0], -best[1]):
                best = (recall, queries, rule)
        return best

    def singles(self):
        """The better of the single sites in each run: seconds, or infinite. None: the cell has none."""
        rows = [[engine for engine in run["engines"] if engine["site"] >= 0] for run in self.runs]
        if not all(rows):
            return None
        return [min(engine["seconds"] if engine["detected"] else INFINITE for engine in row) for row in rows]
