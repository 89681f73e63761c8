"""How a run is reported: findings, measures, and the sentence when all is well. Pure."""

from __future__ import annotations

from twiceshy.config_freshness import differences, puppet
from twiceshy.config_freshness.answers import ManifestFound, Observation, Served, Subjects
from twiceshy.config_freshness.freshness import age_of
from twiceshy.config_freshness.judgement import Judgement
from twiceshy.config_freshness.past import EndpointPast, Past
from twiceshy.config_freshness.settings import FreshnessSettings, Settings
from twiceshy.config_freshness.wording import ago, roughly
from twiceshy.kit.limits import Limit
from twiceshy.kit.units import count, duration
from twiceshy.kit.verdict import Measure, Report, label, safe


def report(
    settings: Settings,
    subjects: Subjects,
    observation: Observation,
    past: Past,
    judgement: Judgement,
) -> Report:
    """The report of a run; measures of the whole before those of single endpoints."""
    measures: list[Measure] = []
    sentences: list[str] = []
    if subjects.endpoints:
        troubled = sum(1 for served in observation.served.values() if served.failure)
        measures += [
            Measure("endpoints_readable", len(subjects.endpoints) - troubled, minimum=0),
            Measure("endpoints_troubled", troubled, minimum=0),
        ]
        sentences.append(_serving(observation, past))
    if subjects.applications:
        current = sum(1 for verdict in judgement.applications.values() if verdict.lag == 0.0)
        measures += _applications(subjects, judgement, len(subjects.applications) - current)
        total = count(len(subjects.applications), "application")
        sentences.append(f"{current} of {total} {'has' if current == 1 else 'have'} loaded it")
    if observation.manifest is not None and not observation.manifest.trouble:
        measures += [
            Measure(f"files_{kind}", sum(d.kind == kind for d in judgement.differences), minimum=0)
            for kind in differences.KINDS
        ]
        sentences.append(_files(observation.manifest))
    if observation.puppet is not None and observation.puppet.summary is not None:
        age = puppet.age_of(observation.puppet.summary, observation.at)
        measures += [
            Measure("puppet_age", round(age), "s", minimum=0),
            Measure("puppet_failed", observation.puppet.summary.failed, minimum=0),
        ]
        sentences.append(f"puppet ran {ago(age)}")
    for endpoint in subjects.endpoints:
        served = observation.served[endpoint.name]
        measures += _measured(served, past.endpoint(endpoint.name), settings.freshness)
    return Report(judgement.findings, measures, "; ".join(sentences), judgement.remarks)


def _serving(observation: Observation, past: Past) -> str:
    """What the endpoints serve, when all is well."""
    served = list(observation.served.values())
    first = served[0]
    matching = "checksums match" if all(each.checksums for each in served) else ""
    if len(past.configs) > 1:
        what = f"{count(len(served), 'endpoint')} serve {len(past.configs)} configurations"
    else:
        version = f"version {first.version}, " if first.version else ""
        same = "serve the same" if len(served) > 1 else "serves its"
        what = f"{count(len(served), 'endpoint')} {same} configuration ({version}{first.key[:8]})"
    ages = [each.since for each in past.endpoints.values() if each.since is not None]
    since = f"unchanged for {roughly(min(ages))}" if ages and min(ages) >= 1 else ""
    return ", ".join(part for part in (what, matching, since) if part)


def _files(found: ManifestFound) -> str:
    """What the files are like, when all is well."""
    verb = "matches" if len(found.files) == 1 else "match"
    return f"{count(len(found.files), 'file')} below {safe(found.root, 60)} {verb} the manifest"


def _applications(subjects: Subjects, judgement: Judgement, behind: int) -> list[Measure]:
    """How many applications are behind, and each one's lag with its grace as limits."""
    return [
        Measure("applied_behind", behind, minimum=0),
        *(
            Measure(
                label(each.name, "lag"),
                judgement.applications[each.name].lag,
                "s",
                _limit(each.grace / 2),
                _limit(each.grace),
                0,
            )
            for each in subjects.applications
        ),
    ]


def _limit(seconds: float) -> Limit:
    return Limit.parse(f"{seconds:.0f}", duration)


def _measured(served: Served, past: EndpointPast, settings: FreshnessSettings) -> list[Measure]:
    """The measures of one endpoint."""
    name = served.name
    time = Measure(label(name, "time"), served.seconds, "s", settings.warning, settings.critical, 0)
    if served.failure:
        return [time]
    age = age_of(served)
    oldest = None if settings.max_age is None else _limit(settings.max_age)
    change = 0.0 if past.key != served.key else past.since
    return [
        time,
        Measure(label(name, "size"), len(served.body), "B", minimum=0),
        Measure(label(name, "age"), None if age is None else max(0.0, age), "s", None, oldest, 0),
        Measure(label(name, "change"), change, "s", minimum=0),
    ]
