"""What a restore has shown, in sentences for whoever answers for it, and as JSON for a program."""

from __future__ import annotations

from dataclasses import asdict

from server.backup.restoring import Restored

_NOT_PROVEN = (
    "That nothing is lost that no kept checkpoint covers: give the newest ones with --checkpoints.",
    "That rows outside the audit log are right: they are those that were dumped, by number and by SHA-256.",
)
_STEPS = (
    "documents: `tria knowledge reindex`, or the worker notices within ten minutes which vectors are missing",
    "Redis: empty it, so that no kept answer is of the lost time; nothing there must survive",
    "erasures after the backup: their keys are back; run `tria subjects erase` again for every receipt since",
    "checkpoint file: begin a new one where records were lost, as the log goes on from here in another way",
)


def restored_json(restored: Restored) -> dict[str, object]:
    """The figures."""
    return {
        "restored": True,
        "backup_time": restored.manifest.created_at.isoformat(),
        "restored_at": restored.ended_at.isoformat(),
        "migrated": list(restored.migrated),
        "logs": [asdict(log) | {"lost": log.lost} for log in restored.logs],
        "lost_at_least": restored.lost,
        "age_seconds": round((restored.ended_at - restored.manifest.created_at).total_seconds(), 3),
        "seconds": dict(restored.seconds),
    }


def restored_lines(restored: Restored) -> list[str]:
    """What is proven, how long it took, what is lost, what is left to do."""
    made, age = restored.manifest, restored.ended_at - restored.manifest.created_at
    took = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in restored.seconds.items())
    lines = [f"RESTORED the backup of {made.created_at.isoformat()} in {sum(restored.seconds.values()):.1f} s: {took}"]
    lines += [f"migrated: {name}" for name in restored.migrated]
    lines.append("Proven:")
    for log in restored.logs:
        compared = f"; continues the kept checkpoint over {log.compared}" if log.compared else ""
        retired = f", {log.retired} retired before" if log.retired else ""
        lines.append(
            f"  - {log.tenant}: {log.proven} records are what was signed{retired}{compared}"
            + (f"; {log.unsigned} more are under no checkpoint yet" if log.unsigned else "")
        )
    lines.append("Lost:")
    for log in restored.logs:
        if log.lost:
            lines.append(f"  - {log.tenant}: records {log.size} to {log.newest_kept - 1} were signed and are gone")
        elif not log.newest_kept:
            lines.append(f"  - {log.tenant}: unknown, no kept checkpoint was given")
    lines.append(f"  - whatever happened after {made.created_at.isoformat()}, {age.total_seconds():.0f} s ago")
    lines += ["Not proven by this:", *(f"  - {sentence}" for sentence in _NOT_PROVEN)]
    return [*lines, "Left to do:", *(f"  - {sentence}" for sentence in _STEPS)]
