"""Pictures of the report: recall against false alerts, and recall over the grid of sources and sites."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (after the backend is chosen)

CHOSEN = ("rate=1 sites=1 sources=1 ", "rate=1 sites=3 sources=10 ", "rate=1 sites=10 sources=100 ", "path=busy rate=1 sites=10", "path=public rate=1 sites=10",
          "list=heldout rate=1 sites=3 sources=8", "rate=1/600 sites=10 sources=1 ", "order=sequential rate=1 sites=3 ", "order=pad pad=5 rate=1 sites=3 ")
RULES = ("zeek-nxdomain", "sigma-subdomains", "trw-site", "trw-pooled", "pooled-counter")


def curves(figures, path):
    chosen = []
    for text in CHOSEN:
        chosen += [a for a in figures.attacks if text in a.cell.line + " " and not a.is_impossible][:1]
    if not chosen:
        return False
    figure, axes = plt.subplots(3, 3, figsize=(11, 9), sharex=True, sharey=True)
    for axis, attack in zip(axes.flat, chosen):
        for rule in RULES:
            points = sorted((max(alerts, 0.01), attack.baseline_recall(rule, level)) for alerts, level in figures.curve(rule))
            axis.step([x for x, _ in points], [y for _, y in points], where="post", label=rule, linewidth=1)
        points = []
        for budget in figures.budgets:
            hits, total = attack.recall(budget)
            points.append((max(figures.worst[budget][0], 0.01), hits / max(1, total)))
        axis.plot(*zip(*points), "ko-", label="Picket", markersize=5)
        axis.axvline(1, color="grey", linewidth=0.5)
        axis.set(xscale="log", xlim=(0.01, 100), ylim=(-0.03, 1.05))
        axis.set_title(attack.title[:44], fontsize=7)
    axes.flat[0].legend(fontsize=6)
    figure.supxlabel("false alerts a day, worst held mix")
    figure.supylabel("recall")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def grid(figures, path):
    sites, sources, rates = ("1", "3", "10", "50"), ("1", "10", "100", "1000"), ("0.1", "1", "10", "100", "1000")
    found = {}
    for attack in figures.attacks:
        options = attack.cell.options
        if attack.cell.what == "A1" and not attack.is_impossible and not set(options) - {"rate", "sites", "sources", "queries", "gain"}:
            found[options.get("rate"), options.get("sites"), options.get("sources")] = (attack.share(), attack.best_baseline()[0])
    if not found:
        return False
    figure, axes = plt.subplots(2, 5, figsize=(13, 5.5))
    for column, rate in enumerate(rates):
        for row, name in enumerate(("Picket", "best re-tuned baseline")):
            values = [[found.get((rate, a, b), (float("nan"),) * 2)[row] for b in sources] for a in sites]
            axis = axes[row][column]
            axis.imshow(values, vmin=0, vmax=1, cmap="RdYlGn")
            for y, line in enumerate(values):
                for x, value in enumerate(line):
                    axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7)
            axis.set_xticks(range(len(sources)), sources, fontsize=7)
            axis.set_yticks(range(len(sites)), sites, fontsize=7)
            axis.set_title(f"{name}, {rate} q/s", fontsize=8)
    figure.supxlabel("sources")
    figure.supylabel("sites")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def draw(figures, folder):
    plt.rcParams["svg.hashsalt"] = "picket"
    made = []
    for name, alt, function in (("curves.svg", "recall against false alerts", curves), ("grid.svg", "recall by sites and sources, A1, popular words", grid)):
        if function(figures, folder / name):
            made.append((name, alt))
    return made
