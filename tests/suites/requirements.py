"""What TRIA promises, by number, and what is asked of it: tests that `make promises` runs, and suites of their own."""

from __future__ import annotations

TITLES = {
    "R1": "No silent failure",
    "R2": "One configuration",
    "R3": "Connection pool",
    "R4": "Response cache",
    "R5": "Streaming",
    "R6": "Performance suite",
    "R7": "Load suite",
    "R8": "Monitoring",
    "R9": "Runbooks",
    "R10": "Audit",
    "R11": "Security suite",
    "R12": "Pipeline",
    "R13": "Staging",
    "R14": "Limits of OpenAI and Xero",
    "R15": "Deployment",
    "R16": "Compliance",
    "R17": "Promises to customers",
}

# Files or folders of tests; `make promises` runs them. A path that is not there counts as not run.
TESTS: dict[str, tuple[str, ...]] = {
    "R1": ("tests/unit/test_sentry.py", "tests/unit/test_logs.py", "tests/rpc/test_chain.py"),
    "R2": ("tests/unit/test_config.py",),
    "R3": ("tests/db/test_pool.py",),
    "R4": ("tests/rpc/test_cache_isolation.py", "tests/unit/test_cache_keys.py", "tests/rpc/test_cache_commands.py"),
    "R5": ("tests/rpc/test_chat.py", "tests/rpc/test_sse.py", "tests/edge/test_streams.py", "tests/edge/test_doors.py"),
    "R8": ("tests/monitoring",),
    "R9": ("tests/monitoring",),
    "R10": ("tests/rpc/test_audit_coverage.py", "tests/rpc/test_audit_export.py", "tests/rpc/test_change_coverage.py",
            "tests/rpc/test_fail_closed.py"),
    "R12": ("tests/contract/test_workflows.py", "tests/contract/test_release_script.py"),
    "R13": ("tests/system/test_deploy_smoke.py", "tests/contract/test_image.py"),
    "R14": ("tests/rpc/test_model_queue.py", "tests/db/test_accounting_budget.py", "tests/unit/test_breaker.py"),
    "R15": ("tests/rpc/test_drain.py", "tests/rpc/test_processes.py", "tests/contract/test_manifests.py",
            "tests/edge/test_rollout.py", "tests/system/test_release.py", "tests/db/test_backup.py"),
    "R16": ("tests/security/test_erasure.py", "tests/rpc/test_subjects.py", "tests/db/test_retention.py",
            "tests/db/test_audit_retention.py"),
    "R17": ("tests/security/test_canaries.py", "tests/rpc/test_audit_coverage.py"),
}  # fmt: skip

# Suites that must have a bar for a requirement, beside its tests.
SUITES: dict[str, tuple[str, ...]] = {
    "R1": ("chaos", "security"),
    "R3": ("load",),
    "R4": ("perf",),
    "R5": ("perf", "soak", "chaos"),
    "R6": ("perf",),
    "R7": ("load", "soak"),
    "R10": ("load", "chaos", "security"),
    "R11": ("security",),
    "R12": ("security",),
    "R14": ("chaos",),
    "R15": ("soak",),
    "R17": ("perf", "load", "soak", "chaos", "security"),
}

# What no run on one machine without accounts can show.
NEEDS_ACCOUNT = {
    "R6": "answers and cost of a model of OpenAI (OPENAI_API_KEY); here llmock has its delays and invented prices",
    "R8": "delivery to PagerDuty, Slack and a mailbox (their keys)",
    "R12": "a run of the workflows on GitHub, signing and registry included (a repository with Actions)",
    "R13": "a staging host and the demo company of Xero (their accounts)",
    "R15": "a Kubernetes cluster in two regions, load balancer and DNS (a cloud account)",
    "R16": "the opinion of a SOC 2 auditor; tests give evidence only",
    "R17": "99.9 % availability over months of real use (a deployment)",
}


def asked_of(suite: str) -> tuple[str, ...]:
    """The requirements that a suite has bars for when it comes to its end."""
    if suite == "promises":
        return tuple(TESTS)
    return tuple(number for number, suites in SUITES.items() if suite in suites)
