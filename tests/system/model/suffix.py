"""The registrable domain of a name by the public suffix list, on labels: publicsuffix.org/list, "Formal Algorithm"."""
import functools
import pathlib

LIST = pathlib.Path("/usr/share/publicsuffix/public_suffix_list.dat")


def labels_of_rule(rule):
    for label in reversed(rule.split(".")):
        try:
            yield label.encode("ascii").lower()
        except UnicodeEncodeError:
            yield b"xn--" + label.lower().encode("punycode")


@functools.lru_cache(maxsize=1)
def rules():
    """{labels from the root on: is it an exception}"""
    found = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        rule = line.split()[0] if line.split() else ""
        if rule and not rule.startswith("//"):
            found[tuple(labels_of_rule(rule.lstrip("!")))] = rule.startswith("!")
    return found


def suffix_length(labels):
    """How many of the labels (from the root on) are the public suffix."""
    best = 1  # the rule "*" where nothing else matches
    for count in range(1, len(labels) + 1):
        exact, wild = tuple(labels[:count]), tuple(labels[: count - 1]) + (b"*",)
        if rules().get(exact) is True:
            return count - 1
        if exact in rules() or (count > 1 and wild in rules()):
            best = count
    return best


@functools.lru_cache(maxsize=None)
def registrable(name):
    """The registrable domain of an absolute lower-case dns.name.Name; the name itself where it has none."""
    from_root = name.labels[-2::-1] if len(name.labels) > 1 else ()
    if not from_root:
        return name
    wanted = suffix_length(from_root) + 1
    return name if wanted >= len(from_root) else name.split(wanted + 1)[1]
