# SPDX-License-Identifier: Apache-2.0
"""The text exposition format 0.0.4 of Prometheus, read as strictly as it is written."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
TYPES = {"counter", "gauge", "histogram"}


class Family:
    def __init__(self, name, text):
        self.name, self.help, self.type, self.samples = name, text, None, {}

    def holds(self, name):
        if self.type == "histogram":
            return name in {self.name + suffix for suffix in ("_bucket", "_sum", "_count")}
        return name == self.name


def labels(text):
    pairs = [each.split("=", 1) for each in re.findall(LABEL, text or "")]
    return tuple((name, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value[1:-1])) for name, value in pairs)


def parse(text):
    """name -> Family, each with (sample's name, ((label, value), ...)) -> number. AssertionError where a rule is broken."""
    families, current = {}, None
    assert text.endswith("\n"), "the last line does not end"
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, about = line[7:].partition(" ")
            assert re.fullmatch(NAME, name) and about and "\\" not in about, line
            assert name not in families, f"two HELP: {line}"
            assert current is None or current.type, f"no TYPE before {line}"
            current = families[name] = Family(name, about)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert current and name == current.name and current.type is None and not current.samples, f"TYPE not behind its HELP: {line}"
            assert kind in TYPES, line
            current.type = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            assert current and current.type and current.holds(match[1]), f"a sample outside of its family: {line}"
            key = (match[1], labels(match[2]))
            assert len(dict(key[1])) == len(key[1]), f"a label twice: {line}"
            assert key not in current.samples, f"a series twice: {line}"
            current.samples[key] = float(match[3])
    for family in families.values():
        check(family)
    return families


def check(family):
    assert (family.type == "counter") == family.name.endswith("_total"), f"{family.name} is a {family.type}"
    assert all(value >= 0 for value in family.samples.values()), family.samples
    if family.type == "histogram":
        check_histogram(family)


def check_histogram(family):
    """One without labels of its own: bounds rise, counts do not fall, all of them are in +Inf and in _count."""
    buckets = [(float(dict(pairs)["le"]), value) for (name, pairs), value in family.samples.items() if name.endswith("_bucket")]
    bounds, counts = zip(*buckets)
    assert list(bounds) == sorted(set(bounds)) and bounds[-1] == float("inf"), bounds
    assert list(counts) == sorted(counts), counts
    assert counts[-1] == family.samples[family.name + "_count", ()], family.samples
    assert (family.name + "_sum", ()) in family.samples


def value(families, name, **wanted):
    """The one series with these labels; a suffix of a histogram belongs to the name."""
    found = [number for family in families.values() for (sample, pairs), number in family.samples.items()
             if sample == name and dict(pairs) == wanted]
    assert len(found) == 1, f"{len(found)} series {name} {wanted}"
    return found[0]
