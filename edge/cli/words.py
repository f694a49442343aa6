"""Events as lines for people at a terminal."""

from __future__ import annotations

from edge.messages import Alert, EffortChanged, EngineChanged, Event, Judged, LandmarkReached, ProcedureDropped

DETAILS = ("kind", "label", "state", "view", "track", "findings")  # of events that have no sentence of their own


def say(event: Event) -> str:
    if isinstance(event, Alert):
        return f"ALERT {event.priority.value}: {event.text}"
    if isinstance(event, LandmarkReached):
        return (
            f"{event.kind} reached at {event.first_seen_ns / 1e9:.1f} s,"
            f" {event.after_ns / 1e9:.1f} s after the procedure began (best score {event.best_score:.2f})"
        )
    if isinstance(event, EffortChanged):
        return f"effort {event.effort}, was {event.previous}: {event.reason}"
    if isinstance(event, EngineChanged):
        return f"engine {event.state}: {event.detail}" + ("" if event.share is None else f" {event.share:.0%}")
    if isinstance(event, ProcedureDropped):
        return f"procedure {event.procedure} is removed: {event.reason}"
    if isinstance(event, Judged):
        return f"{event.kind}: {_verdict(event)}"
    details = [
        f"{name} {value.value if hasattr(value, 'value') else value}"
        for name in DETAILS
        if (value := getattr(event, name, None))
    ]
    return f"{type(event).__struct_config__.tag} {', '.join(details)}".strip()


def _verdict(event: Judged) -> str:
    shares = ", ".join(f"{label} {share:.0%}" for label, share in event.shares.items())
    counted = f"{shares + ' of ' if shares else ''}{event.views} good views, {event.unsure} unsure"
    return f"{event.label or 'no verdict'} ({counted})"
