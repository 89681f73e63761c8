"""What a run has found out: findings and remarks, and what is to be remembered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from twiceshy.config_freshness import differences, puppet
from twiceshy.config_freshness.agreement import agreement, independence
from twiceshy.config_freshness.answers import (
    Application,
    Endpoint,
    ManifestFound,
    Observation,
    Served,
    Subjects,
    curl,
)
from twiceshy.config_freshness.applied import ApplicationVerdict, applied
from twiceshy.config_freshness.checksums import checksummed, is_sound, lost
from twiceshy.config_freshness.differences import Difference
from twiceshy.config_freshness.freshness import conditional, fresh, returned
from twiceshy.config_freshness.past import (
    ApplicationPast,
    ConfigPast,
    Past,
    Version,
    names_of,
    with_run,
)
from twiceshy.config_freshness.readability import readable, time_left
from twiceshy.config_freshness.settings import FileSettings, Settings
from twiceshy.config_freshness.wording import ago
from twiceshy.kit.plugin import CRITICAL
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding, safe


@dataclass(frozen=True)
class ConfigVerdict:
    """One configuration: what of it was sound, and its past with this run in it.

    `is_good`: an application can have it from at least one endpoint, with its checksum data.
    """

    sound: Sequence[Served]
    past: ConfigPast
    is_good: bool


@dataclass(frozen=True)
class Judgement:
    """Everything that follows from a run."""

    findings: Sequence[Finding] = ()
    remarks: Sequence[str] = ()
    configs: Mapping[str, ConfigVerdict] = field(default_factory=dict)
    applications: Mapping[str, ApplicationVerdict] = field(default_factory=dict)
    differences: Sequence[Difference] = ()


def judge(
    settings: Settings, subjects: Subjects, observation: Observation, past: Past
) -> Judgement:
    """All findings of a run, in the order in which they are reported within one state."""
    findings: list[Finding] = []
    remarks: list[str] = []
    configs: dict[str, ConfigVerdict] = {}
    for config, before in past.configs.items():
        answers = [each for each in observation.served.values() if each.config == config]
        sound = [each for each in answers if is_sound(each, settings.checksums.mode)]
        # a body that its checksum does not fit is no version of anything
        is_good = any(not lost(s, past.endpoint(s.name), settings.checksums) for s in sound)
        configs[config] = ConfigVerdict(sound, with_run(before, sound), is_good)
        left = time_left(config, subjects.applications, settings.grace, before)
        wrong, odd = _configuration(settings, answers, sound, past, left)
        findings += wrong
        remarks += odd
    applications: dict[str, ApplicationVerdict] = {}
    for application in subjects.applications:
        verdict = _application(application, observation, past, configs[application.config])
        applications[application.name] = verdict
        findings += [verdict.finding] if verdict.finding else []
    differ: list[Difference] = []
    if observation.manifest is not None:
        wrong, differ = _files(observation.manifest, settings.files)
        findings += wrong
    if observation.puppet is not None:
        findings += puppet.judged(
            observation.puppet, observation.at, settings.puppet.max_age, settings.grace
        )
    return Judgement(findings, remarks, configs, applications, differ)


def _configuration(
    settings: Settings, answers: Sequence[Served], sound: Sequence[Served], past: Past, left: str
) -> tuple[list[Finding], list[str]]:
    """Findings and remarks about the endpoints of one configuration."""
    before = past.configs[answers[0].config]
    findings = readable(answers, past, left, settings.one_down)
    remarks: list[str] = []
    if settings.checksums.mode != "none" or settings.checksums.pinned:
        wrong, odd = checksummed(answers, past, before, left, settings.checksums)
        findings += wrong
        remarks += odd
    findings += agreement(sound, past, before, settings.sync_grace)
    findings += independence(answers, not settings.requests.use_environment)
    for served in sound:
        own = past.endpoint(served.name)
        remarks += returned(served, own, before)
        for wrong, odd in (
            conditional(served, settings.not_modified),
            fresh(served, own, settings.freshness),
        ):
            findings += [replace(each, next=each.next or served.retry) for each in wrong]
            remarks += odd
    return findings, remarks


def _application(
    application: Application, observation: Observation, past: Past, config: ConfigVerdict
) -> ApplicationVerdict:
    """Whether an application runs what is published, with the command that asks it again."""
    # with the ETags that they have today among their names
    current = [Version(served.key, names_of(served), 0.0) for served in config.sound]
    verdict = applied(
        application,
        observation.running[application.name],
        past.applications.get(application.name, ApplicationPast()),
        current,
        config.past,
    )
    source = application.source.partition("#")[0]
    if verdict.finding is None or "://" not in source:
        return verdict
    return replace(verdict, finding=replace(verdict.finding, next=curl(Endpoint("", source))))


def _files(found: ManifestFound, settings: FileSettings) -> tuple[list[Finding], list[Difference]]:
    """The manifest, and the files here against it."""
    place = safe(found.place, 80)
    if found.trouble:
        return [Finding(CRITICAL, f"the manifest {place} {found.trouble}", code="manifest")], []
    findings = []
    if settings.max_age is not None and found.age is not None and found.age > settings.max_age:
        text = f"the manifest {place} was made {ago(found.age)} (freeze), limit "
        text += say_duration(settings.max_age)
        findings.append(Finding(CRITICAL, text, code="manifest"))
    differ = differences.all_differences(found.manifest, found.files, settings)
    return findings + differences.findings(differ, len(found.files), found.root), differ
