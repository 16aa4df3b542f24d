"""Every error that rise_gym raises on purpose: each message says what was wanted, what came, and the way out."""

from __future__ import annotations


class RiseGymError(Exception):
    """Base class: catch it to catch everything that rise_gym refuses."""


class InvalidAction(RiseGymError, ValueError):
    """An action chunk of the wrong shape, out of range, or not finite."""


class StepOutOfOrder(RiseGymError, RuntimeError):
    """A step, or a snapshot, before `reset`; or a step after the episode's end."""


class InvalidStart(RiseGymError, ValueError):
    """`reset` options that name a start that does not exist or does not fit the task."""


class UnsuitableEnv(RiseGymError, ValueError):
    """An agent could not learn or play in this env or world model, of another task say; the message has the way out."""


class AgentFailed(RiseGymError, RuntimeError):
    """An agent raised, or said what is no plan, while a robot was moving; the robot was braked and holds."""


class InvalidCheckpoint(RiseGymError, ValueError):
    """A checkpoint of another task, another format version, incomplete, or changed since it was written."""


class UnavailableDevice(RiseGymError, RuntimeError):
    """A device that torch does not know, or that is not in this machine."""


class NotTrainable(RiseGymError, NotImplementedError):
    """A policy that only acts: what it is told has no room for how good a chunk was."""


class InvalidDataset(RiseGymError, ValueError):
    """A dataset whose cameras, frames or columns do not fit its own description or the task."""


class InvalidMapping(InvalidDataset):
    """A mapping of somebody else's dataset that lacks an entry, has an unknown one, or does not fit the dataset."""


class InvalidTraining(RiseGymError, ValueError):
    """Settings with which nothing can be trained, or which processes that train together can't follow."""


class SaveFailed(RiseGymError, OSError):
    """Nothing could be written (a full disk, a read-only folder); what was saved before is untouched."""


class RenderingUnavailable(RiseGymError, RuntimeError):
    """The replica has no OpenGL to draw with; the imagined environment needs none."""


class InvalidRobot(RiseGymError, ValueError):
    """A real robot whose features, units, pose or limits do not fit the task; nothing was sent to it."""


class RobotFault(RiseGymError, RuntimeError):
    """A real robot that can't be used safely now: unreachable, stopped by its operator, blind or stuck."""


class InvalidTask(RiseGymError, ValueError):
    """A task card that contradicts itself, or another task of the same name."""


class RemoteFault(RiseGymError, RuntimeError):
    """A served policy that can't be reached, does not answer in time or reports a failure; or a port that is taken."""


class InvalidMessage(RiseGymError, ValueError):
    """What came over a socket is not what the protocol and the task want; nothing of it was used."""


class HubFault(RiseGymError, RuntimeError):
    """The Hugging Face hub can't be reached, wants a token, or refuses; nothing here was changed."""


class InvalidResults(RiseGymError, ValueError):
    """Recorded figures that are incomplete, or of another checkpoint than the one they are to stand beside."""


class MissingPackage(RiseGymError, ImportError):
    """Something optional was asked for whose packages are not installed; the message is the line that installs them."""


class UnknownTask(RiseGymError, KeyError):
    """A task name that is not in the registry."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
