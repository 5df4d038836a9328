"""What Prometheus would see: the text of the metrics, read into numbers."""

import re
import socket
import subprocess
import urllib.error
import urllib.request

from harness import place

SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
NAME = re.compile(r"proctor_[a-z_]+")
OF_HISTOGRAMS = re.compile(r"_(?:bucket|sum|count)$")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    return {"metrics": {"listen": f"127.0.0.1:{port}"}}


def get(port, path="/metrics", method="GET"):
    """(status, headers, text)"""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read().decode()


class Scrape:
    """text: as served."""

    def __init__(self, text):
        self.text = text
        self.samples = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                key = (name, frozenset(LABEL.findall(labels or "")))
                assert key not in self.samples, f"twice: {line}"
                self.samples[key] = float(value)

    def __call__(self, name, **labels):
        """The one sample of these labels, no more and no less."""
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """Of all samples that have these labels, among others."""
        return sum(value for (found, has), value in self.samples.items() if found == name and labels.items() <= has)

    def labels(self, name, label):
        return {dict(has).get(label) for found, has in self.samples if found == name}

    def families(self):
        """Names without what a histogram adds to its own."""
        return {name if name in self.types() else OF_HISTOGRAMS.sub("", name) for name, _ in self.samples}

    def types(self):
        return dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.MULTILINE))


def scrape(daemon):
    return Scrape(daemon.call("metrics")["text"])


def reference():
    """The table that `proctord --metrics-reference` prints."""
    return subprocess.run([f"{place.installation()}/sbin/proctord", "--metrics-reference"], check=True, text=True,
                          capture_output=True).stdout


def rows():
    """name: (type, [labels]) of every metric there is."""
    return {name: (kind, re.findall(r"`(\w+)`", labels))
            for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", reference(), re.MULTILINE)}


def promtool(*words, text=None):
    return subprocess.run(["promtool", *map(str, words)], input=text, text=True, capture_output=True, check=False)
