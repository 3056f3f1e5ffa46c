"""The project's tests, in the order of txraft's packages. They count steps and not seconds: no machine is too slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("txraft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("txraft")
