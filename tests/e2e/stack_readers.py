# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Readers of folded stacks and of pprof's profiles that share nothing with stakeout: by the grammars that others document."""
import gzip
import re


def folded(text):
    """{(outermost, .., innermost): value} of folded stacks, as both flamegraph.pl and speedscope read them (or an AssertionError).

    flamegraph.pl: the value is what follows the last white space, a second number before it would be another run's, names are split at `;`.
    speedscope (bg-flamegraph.ts): /^(.*) (\\d+)$/, split at `;`."""
    found = {}
    assert not text or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        speedscope = re.match(r"^(.*) (\d+)$", line)
        flamegraph = re.match(r"^(.*)\s+?(\d+(?:\.\d*)?)$", line)
        assert speedscope and flamegraph, f"not a folded stack: {line!r}"
        assert speedscope.groups() == flamegraph.groups()
        assert not re.match(r"^(.*)\s+?(\d+(?:\.\d*)?)$", flamegraph[1]), f"reads as two runs: {line!r}"
        names = tuple(speedscope[1].split(";"))
        assert all(names) and line.isprintable(), line
        assert names not in found, "one line a stack"
        found[names] = int(speedscope[2])
    return found


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data):
    """(field number, wire type, value) of a message, by the encoding that protobuf.dev documents."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        yield key >> 3, key & 7, value


def message(data, scalars=(), repeated=(), messages=None):
    """A message as {field number: value}: the last of scalars, lists of the others; `messages`: {number: how to read one}."""
    found = {n: 0 for n in scalars} | {n: [] for n in [*repeated, *(messages or {})]}
    for number, wire, value in fields(data):
        if number in scalars:
            found[number] = value
        elif number in repeated and wire == 2:  # packed
            at = 0
            while at < len(value):
                one, at = varint(value, at)
                found[number].append(one)
        elif number in repeated:
            found[number].append(value)
        else:
            found[number].append((messages or {})[number](value))
    return found


class Pprof:
    """A profile; field numbers of github.com/google/pprof/proto/profile.proto. .types: [(type, unit)]; .samples: [(frames, values, labels)]
    with frames innermost first as (function, file, line, mapping)."""

    def __init__(self, data):
        value_type = lambda d: message(d, scalars=(1, 2))
        p = message(gzip.decompress(data), scalars=(7, 8, 9, 10, 12, 14), repeated=(13,), messages={
            1: value_type, 11: value_type, 6: lambda d: d.decode("utf-8"),
            2: lambda d: message(d, repeated=(1, 2), messages={3: lambda label: message(label, scalars=(1, 2, 3, 4))}),
            3: lambda d: message(d, scalars=range(1, 11)),
            4: lambda d: message(d, scalars=(1, 2, 3, 5), messages={4: lambda line: message(line, scalars=(1, 2, 3))}),
            5: lambda d: message(d, scalars=range(1, 6))})
        text = p[6]
        assert text[0] == "" and len(set(text)) == len(text)
        pair = lambda v: (text[v[1]], text[v[2]])
        self.types, self.period_type = [pair(v) for v in p[1]], [pair(v) for v in p[11]]
        self.time_nanos, self.duration_nanos, self.period, self.default = p[9], p[10], p[12], text[p[14]]
        self.comments = [text[i] for i in p[13]]
        mappings, functions, locations = ({m[1]: m for m in p[n]} for n in (3, 5, 4))
        assert all(0 not in of and len(of) == len(p[n]) for of, n in ((mappings, 3), (functions, 5), (locations, 4))), "ids are unique and not 0"
        self.mappings = [text[m[5]] for m in p[3]]
        self.samples = []

        def frame(number):
            (line,) = locations[number][4]
            function, mapping = functions[line[1]], locations[number][2]
            return text[function[2]], text[function[4]], line[2], text[mappings[mapping][5]] if mapping else ""

        for s in p[2]:
            assert len(s[2]) == len(self.types)
            self.samples.append((tuple(map(frame, s[1])), tuple(s[2]), {text[label[1]]: text[label[2]] for label in s[3]}))
        used = {number for s in p[2] for number in s[1]}
        assert used == set(locations), "what nothing refers to is left out"
