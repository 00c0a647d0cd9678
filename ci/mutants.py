"""Puts mutants of a crate to its tests, and requires that those which claim a mutant notice it.

What ci/latch-mutants, ci/committer-mutants and ci/tube-mutants share. Which tests must kill a mutant is written at the
tests themselves, after "Kills:". Each mutant is built in a copy of the workspace, and each test that claims it must fail;
unchanged, every test must pass. Anything else is an error: a text to change that is not there exactly once, a mutant that
does not build, that nobody claims or that is not decided in time, a test that does not say what it kills.

With --find each mutant is put to every test, to see who could claim it.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TIMEOUT = 120  # seconds, for one test of one mutant


class Wrong(Exception):
    """Why the result is no result."""


@dataclasses.dataclass
class Mutants:
    """The mutants of a crate, and the tests that must kill them."""

    name: str  # of the script
    package: str
    test: str  # the test program, whose sources are in the folder of its name
    cfg: str
    crates: tuple  # folders of crates/ that the test program is built from
    # name: what is broken, the file, then the text and its replacement, or several pairs that are one change.
    mutants: dict
    files: tuple = ()  # where the text is of those that name no file
    environment: dict = dataclasses.field(default_factory=dict)  # unless it says something else
    may_kill_none: bool = True

    def __post_init__(self):
        self.work = TARGET / self.name
        self.copy = self.work / "copy"
        self.sources = pathlib.Path("crates") / self.package / "src"

    def run_script(self):
        try:
            sys.exit(self.main(sys.argv[1:]))
        except Wrong as wrong:
            sys.exit(f"{self.name}: {wrong}")

    def main(self, arguments):
        find = "--find" in arguments
        names = [name for name in arguments if name != "--find"]
        unknown = [name for name in names if name not in self.mutants]
        if unknown:
            raise Wrong(f"no such mutant: {', '.join(unknown)}")
        claims = self.read_claims()
        if not find:
            self.check_claims(claims)
        mutated = {name: self.mutate(name) for name in names or self.mutants}
        started = time.monotonic()
        self.copy_workspace()

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            unchanged = self.build("unchanged", {})
            for test, outcome in zip(claims, pool.map(lambda test: self.run(unchanged, test), claims)):
                if outcome:
                    raise Wrong(f"the unchanged crate fails {test}: {outcome}")
            print(f"unchanged: {len(claims)} tests pass", flush=True)

            survivors = 0
            deaths = []
            for name, files in mutated.items():
                binary = self.build(name, files)
                survivors += self.report(deaths, find)
                killers = [test for test, mutants in claims.items() if find or name in mutants]
                deaths = [(name, test, pool.submit(self.run, binary, test)) for test in killers]
            survivors += self.report(deaths, find)
        seconds = time.monotonic() - started
        print(f"{len(mutated)} mutants, {survivors} survivals, {seconds:.0f} s")
        return 1 if survivors else 0

    def report(self, deaths, find):
        """Prints how mutants died; counts the tests they survived, or the mutants that survive every test."""
        hows = [(name, test, death.result()) for name, test, death in deaths]
        for name, test, how in hows:
            if how or not find:
                print(f"{name:29} {self.mutants[name][0]:72} {test}: {how or 'SURVIVED'}", flush=True)
        if not find:
            return sum(how is None for _, _, how in hows)
        if hows and all(how is None for _, _, how in hows):
            print(f"{hows[0][0]:29} {self.mutants[hows[0][0]][0]:72} SURVIVED", flush=True)
            return 1
        return 0

    def read_claims(self):
        """The tests, and the mutants that each says it kills."""
        test = re.compile(r"((?:^///.*\n)+)#\[test\]\nfn (\w+)", re.MULTILINE)
        claims = {}
        for path in sorted((ROOT / "crates" / self.package / "tests" / self.test).glob("*.rs")):
            for comment, name in test.findall(path.read_text()):
                text = " ".join(line.removeprefix("///").strip() for line in comment.splitlines())
                _, found, list_ = text.partition("Kills: ")
                if not found:
                    raise Wrong(f"{path.stem}::{name} does not say what it kills")
                killed = set(list_.rstrip(".").split(", "))
                claims[f"{path.stem}::{name}"] = killed - {"none"} if self.may_kill_none else killed
        return claims

    def check_claims(self, claims):
        """Every mutant is claimed."""
        claimed = set().union(*claims.values())
        if claimed != set(self.mutants):
            raise Wrong(f"claimed by a test or made here, not both: {sorted(claimed ^ set(self.mutants))}")

    def mutate(self, name):
        """The files that a mutant changes, as it leaves them."""
        _, *changes = self.mutants[name]
        files = [changes.pop(0)] if isinstance(changes[0], str) else self.files
        sources = {self.sources / file: (ROOT / self.sources / file).read_text() for file in files}
        for old, new in changes:
            found = [path for path, text in sources.items() for _ in range(text.count(old))]
            if len(found) != 1:
                raise Wrong(f"{name}: found {len(found)} times, not once, in {', '.join(files)}:\n{old}")
            sources[found[0]] = sources[found[0]].replace(old, new)
        return sources

    def copy_workspace(self):
        """Copies what the tests need, as a workspace without other members."""
        shutil.rmtree(self.copy, ignore_errors=True)
        for crate in self.crates:
            shutil.copytree(ROOT / "crates" / crate, self.copy / "crates" / crate)
        manifest = (ROOT / "Cargo.toml").read_text()
        members = f'members = ["crates/{self.package}"]'
        alone, found = re.subn(r"(?m)^members = .*$", members, manifest)
        if found != 1:
            raise Wrong("the workspace's members are not one line of Cargo.toml")
        (self.copy / "Cargo.toml").write_text(alone)
        shutil.copy(ROOT / "Cargo.lock", self.copy)

    def build(self, name, files):
        """The tests over a crate with these files, as a program. One is built at a time; they share all but the crate."""
        # Not left to time stamps: what is built is this crate and no other.
        for fingerprint in (self.work / "build/release/.fingerprint").glob(f"{self.package}-*"):
            shutil.rmtree(fingerprint)
        for path in (ROOT / self.sources).rglob("*.rs"):
            changed = path.relative_to(ROOT)
            (self.copy / changed).write_text(files.get(changed, path.read_text()))
        cargo = ["cargo", "test", f"-p={self.package}", "--release", f"--test={self.test}", "--no-run"]
        cargo += ["--message-format=json", "--config=profile.release.debug=false"]
        # What changes is built often and run briefly.
        cargo += [f"--config=profile.release.package.{self.package}.opt-level=0"]
        environment = os.environ | {"CARGO_TARGET_DIR": str(self.work / "build"), "RUSTFLAGS": f"--cfg {self.cfg}"}
        done = subprocess.run(cargo, cwd=self.copy, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            messages = [json.loads(line) for line in done.stdout.splitlines()]
            texts = [message["message"]["rendered"] for message in messages if "message" in message]
            raise Wrong(f"{name} does not build:\n{''.join(texts)}{done.stderr}")
        artifacts = [json.loads(line) for line in done.stdout.splitlines()]
        (built,) = [artifact["executable"] for artifact in artifacts if artifact.get("executable")]
        return shutil.move(built, self.work / name)

    def run(self, binary, test):
        """How a test failed, None if it did not."""
        try:
            done = subprocess.run(
                [binary, "--exact", test, "--nocapture"],
                env=self.environment | os.environ,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired as expired:
            raise Wrong(f"{test} is not decided after {expired.timeout} s") from None
        if "1 passed" in done.stdout and done.returncode == 0:
            return None
        panic = re.search(r"panicked at .*:\n(.*)", done.stderr)
        if panic is None:
            raise Wrong(f"{test} neither passed nor failed:\n{done.stdout}{done.stderr}")
        return panic.group(1)[:70]
