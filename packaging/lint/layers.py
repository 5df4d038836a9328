"""Checks what each file of supervisor/ includes against the direction of the layers, and header guards.

The rules are the table in supervisor/README.md: a layer may include itself and those named here, and of the
libraries' headers only what its files are given below. Exit status 1 and one line for each fault.

    layers.py [FOLDER]        supervisor/ when none is named
"""

import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "supervisor")

MAY_INCLUDE = {
    "base": (),
    "policy": ("base",),
    "config": ("base", "policy"),
    "io": ("base",),
    "core": ("base", "policy", "config", "io"),
    "app": ("base", "policy", "config", "io", "core"),
    "ctl": ("base",),
}
# Files of io that the client shares with the daemon.
CLIENT_SHARES = ("io/command_table.h",)

# Library header -> the files that may include it, as path prefixes below supervisor/.
LIBRARIES = {
    "ev.h": ("io/loop.c",),
    "ini.h": ("config/ini.c",),
    "isa-l/crc.h": ("io/spool_format.c",),
    "libpq-fe.h": ("io/db", "io/resolve"),
    "openssl/evp.h": ("io/webhook.c",),
    "openssl/hmac.h": ("io/webhook.c",),
    "jansson.h": ("io/", "app/", "ctl/"),
    "yaml.h": ("ctl/",),
    "curl/curl.h": ("io/http.c", "io/http_"),
    "microhttpd.h": ("io/httpserver.c",),
}

# Decisions take time as an argument and touch nothing.
POLICY_REFUSED = ("fcntl.h", "poll.h", "pthread.h", "signal.h", "sys/socket.h", "sys/stat.h", "sys/time.h",
                  "time.h", "unistd.h", "base/clock.h", "base/fd.h", "base/log.h")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def files():
    for folder, _, names in os.walk(ROOT):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def own_include_fault(path, layer, target):
    other = target.partition("/")[0]
    if "/" not in target or other not in MAY_INCLUDE:
        return f'"{target}" is not written as a path below supervisor/'
    if layer == "policy" and target in POLICY_REFUSED:
        return f'policy is pure and may not include "{target}"'
    if other == layer or other in MAY_INCLUDE[layer] or layer == "ctl" and target in CLIENT_SHARES:
        return None
    allowed = ", ".join(MAY_INCLUDE[layer]) or "nothing of ours"
    return f'{layer} may not include "{target}": it may use {allowed}'


def library_include_fault(path, layer, target):
    if target in LIBRARIES:
        if not path.startswith(LIBRARIES[target]):
            return f"<{target}> belongs to {' '.join(LIBRARIES[target])}"
    elif layer == "policy" and target in POLICY_REFUSED:
        return f"policy is pure and may not include <{target}>"
    elif not is_system_header(target):
        return f"<{target}> is of a library that packaging/lint/layers.py does not know"
    return None


def is_system_header(target):
    """libc's and the kernel's headers."""
    if target.startswith(("sys/", "linux/", "arpa/", "net/", "netinet/")):
        return True
    return "/" not in target and target in SYSTEM_HEADERS


SYSTEM_HEADERS = frozenset("""
    assert.h ctype.h dirent.h endian.h errno.h fcntl.h float.h fnmatch.h getopt.h glob.h grp.h inttypes.h libgen.h
    limits.h locale.h malloc.h math.h netdb.h poll.h pthread.h pwd.h regex.h sched.h setjmp.h signal.h spawn.h
    stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h
    strings.h syslog.h termios.h threads.h time.h unistd.h wchar.h wctype.h
""".split())


def guard_fault(path, text):
    """A header opens with the guard that its path gives it, and nothing but blank lines is before it."""
    name = re.sub(r"[^A-Z0-9]", "_", path.upper())
    lines = [line for line in text.splitlines() if line.strip()]
    if lines[:2] == [f"#ifndef {name}", f"#define {name}"] and lines[-1].startswith("#endif"):
        return None
    return f"has no guard {name} around all of it"


def first_include_fault(path, text):
    """A source file that has a header of its own includes it first, which proves that it stands alone."""
    header = path[:-2] + ".h"
    if not path.endswith(".c") or not os.path.exists(os.path.join(ROOT, header)):
        return None
    first = INCLUDE.search(text)
    if first is None or first.group(2) != header:
        return f'does not include its own "{header}" first'
    return None


def faults(path):
    layer = path.partition("/")[0]
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    if layer not in MAY_INCLUDE:
        yield f"{layer}/ is not a layer: {', '.join(MAY_INCLUDE)}"
        return
    if path.endswith(".h"):
        yield guard_fault(path, text)
    yield first_include_fault(path, text)
    for quote, target in INCLUDE.findall(text):
        check = own_include_fault if quote == '"' else library_include_fault
        yield check(path, layer, target)


def main():
    found = [f"supervisor/{path}: {fault}" for path in files() for fault in faults(path) if fault]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
