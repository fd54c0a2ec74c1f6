# SPDX-License-Identifier: Apache-2.0
"""
What the kernel's BTF says of its functions, and what bpf/ declares of the hooks it attaches to.

Types are compared as the kernel passes them: a pointer by what it points to, anything else by its size, whatever it is called
there. The format is that of linux/btf.h (Documentation/bpf/btf.rst).
"""

import glob
import os
import re
import struct

from lib import places

KERNEL = "/sys/kernel/btf/vmlinux"

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)
# Bytes behind the common 12, as (fixed, for each of vlen).
TAIL = {INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8), FUNC_PROTO: (0, 8), VAR: (4, 0),
        DATASEC: (0, 12), DECL_TAG: (4, 0), ENUM64: (0, 12)}
TRANSPARENT = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}


class Btf:
    """The types of one kernel."""

    def __init__(self, path=KERNEL):
        with open(path, "rb") as file:
            self.data = file.read()
        magic, _, _, header, types, length, strings, _ = struct.unpack_from("<HBBIIIII", self.data)
        assert magic == 0xEB9F, f"{path} is no BTF of this byte order"
        self.strings = header + strings
        self.places, self.functions, self.typedefs = [0], {}, {}
        at, end = header + types, header + types + length
        common = struct.Struct("<II")
        while at < end:
            name, info = common.unpack_from(self.data, at)
            kind = info >> 24 & 31
            if kind == FUNC:
                self.functions[self.text(name)] = len(self.places)
            elif kind == TYPEDEF:
                self.typedefs[self.text(name)] = len(self.places)
            fixed, each = TAIL.get(kind, (0, 0))
            self.places.append(at)
            at += 12 + fixed + each * (info & 0xFFFF)

    def text(self, offset):
        start = self.strings + offset
        return self.data[start:self.data.index(b"\0", start)].decode()

    def type(self, number):
        """(kind, name, vlen, size or type)"""
        name, info, last = struct.unpack_from("<III", self.data, self.places[number])
        return info >> 24 & 31, self.text(name), info & 0xFFFF, last

    def passed(self, number):
        """A type as it is passed, see above."""
        if number == 0:
            return "void"
        kind, name, _, last = self.type(number)
        if kind in TRANSPARENT:
            return self.passed(last)
        if kind == PTR:
            return self.passed(last) + " *"
        if kind in (INT, ENUM, ENUM64):
            return f"{last} bytes"
        if kind in (STRUCT, FWD):
            return f"struct {name}"
        return f"union {name}" if kind == UNION else f"type of kind {kind}"

    def prototype(self, function):
        """(types of the arguments, type of the result) or None when there is no such function."""
        if function not in self.functions:
            return None
        number = self.type(self.functions[function])[3]
        _, _, count, result = self.type(number)
        at = self.places[number] + 12
        arguments = [struct.unpack_from("<II", self.data, at + 8 * each) for each in range(count)]
        return [(self.passed(kind), self.text(name)) for name, kind in arguments], self.passed(result)

    def declared(self, text):
        """A type as C writes it, as it is passed."""
        words = [word for word in re.findall(r"\w+|\*", text) if word != "const"]
        stars = words.count("*")
        name = " ".join(word for word in words if word != "*")
        if not name.startswith(("struct ", "union ")) and name != "void":
            number = self.typedefs.get(name)
            name = self.passed(number) if number else f"{scalar_size(name)} bytes"
        return name + " *" * stars


def of(session):
    """The running kernel's, read once."""
    if "btf" not in session.memory:
        if not os.path.exists(KERNEL):
            session.missing(f"there is no {KERNEL}")
        session.memory["btf"] = Btf()
    return session.memory["btf"]


def scalar_size(name):
    words = name.split()
    if words[0] == "enum" or words == ["unsigned"]:
        return 4
    for word, code in (("char", "b"), ("short", "h"), ("bool", "?")):
        if word in words:
            return struct.calcsize(code)
    return struct.calcsize({0: "i", 1: "l", 2: "q"}[words.count("long")])


class Program:
    """One LSM program of bpf/, as its source declares it."""

    def __init__(self, hook, name, optional, arguments, complete=True):
        self.hook, self.name, self.optional = hook, name, optional
        self.complete = complete  # declares all arguments; else reads these out of its context by hand, and no other
        self.arguments = arguments  # position -> (type, name); the last is "int ret" where the hook has an answer

    def __repr__(self):
        return self.name


SECTION = re.compile(r'^SEC\("(\??)lsm(?:\.s)?/(\w+)"\)', re.M)
BY_MACRO = re.compile(r"\s*int BPF_PROG\((\w+),\s*([^)]*)\)\s*\{")
BY_ROW = re.compile(r"^(OPTIONAL_)?HOOK\(", re.M)  # bpf/verdict.h
BY_HAND = re.compile(r"\s*int (\w+)\(unsigned long long \*ctx\)\s*\{(.*?)\n\}", re.S)


def declared_arguments(text):
    return dict(enumerate(re.fullmatch(r"(.*?)(\w+)", " ".join(each.split())).groups() for each in text.split(",")))


def row(text, start):
    """The parts of a row of HOOK(), from behind its parenthesis: hook, verdict, arguments."""
    parts, depth = [""], 1
    for letter in text[start:]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return [" ".join(each.split()) for each in parts]
        if letter == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += letter
    raise AssertionError(f"this row has no end: {text[start:start + 60]!r}")


def rows(text):
    """The programs that are rows of HOOK(): what the macro declares is moat_HOOK(arguments, int ret)."""
    for found in BY_ROW.finditer(text):
        hook, _verdict, *arguments = row(text, found.end())
        yield Program(hook, f"moat_{hook}", bool(found[1]), declared_arguments(", ".join([*arguments, "int ret"])))


def programs():
    """Every LSM program in bpf/*.bpf.c. One that cannot be read is an error, so that none is overlooked."""
    found = []
    for path in sorted(glob.glob(os.path.join(places.SOURCE, "bpf/*.bpf.c"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        found.extend(rows(text))
        for section in SECTION.finditer(text):
            optional, hook = section.groups()
            macro, hand = BY_MACRO.match(text, section.end()), BY_HAND.match(text, section.end())
            if macro:
                found.append(Program(hook, macro[1], bool(optional), declared_arguments(macro[2])))
                continue
            assert hand and hand[2].count("ctx[") == len(re.findall(r"\(\w+\)ctx\[", hand[2])), \
                f"{path}: cannot read the program of {section[0]}"
            read = {int(number): (kind, f"ctx[{number}]") for kind, number in re.findall(r"\((\w+)\)ctx\[(\d+)\]", hand[2])}
            found.append(Program(hook, hand[1], bool(optional), read, complete=False))
    return found


def differences(btf, program):
    """How the arguments of a program differ from those of its hook in this kernel; None when the kernel has no such hook."""
    prototype = btf.prototype(f"bpf_lsm_{program.hook}")
    if prototype is None:
        return None
    given, result = prototype
    given = dict(enumerate(given if result == "void" else [*given, (result, "ret")]))
    nothing, found = ("", ""), []
    for number in sorted(set(given) | set(program.arguments)) if program.complete else program.arguments:
        theirs, ours = given.get(number, nothing), program.arguments.get(number, nothing)
        declared = btf.declared(ours[0]) if ours[0] else ""
        unread = declared == "void *" and theirs[0].endswith(" *")  # passed over: of whatever type the kernel has it
        if (declared != theirs[0] and not unread) or program.complete and (theirs[1] == "ret") != (ours[1] == "ret"):
            found.append(f"{program.hook}: argument {number + 1} of {program.name} is {' '.join(ours).strip() or 'not there'} "
                         f"({declared}), the kernel's is {theirs[1] or 'not there'} ({theirs[0]})")
    return found
