"""The command in this process, on every release of Click that we ask for."""

from click.testing import CliRunner


def apart():
    """Make a runner that keeps stderr apart from stdout, as Click 8.2 and later always do."""
    try:
        return CliRunner(mix_stderr=False)
    except TypeError:
        return CliRunner()
