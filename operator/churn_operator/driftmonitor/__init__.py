"""DriftMonitor: do current customers still resemble those the champion learned from?"""

from churn_operator.driftmonitor.kind import DriftMonitorKind

__all__ = ["DriftMonitorKind"]
