"""The agent: brings models onto one device, proves them there, and says so.

Applications on the device need two names from here:

    from fitment_agent import foreground, model

    active = model("activity")      # path, runtime and session options of the proved variant
    with foreground():              # somebody is using this application: keep quiet
        ...
"""

from fitment_agent.foreground import foreground
from fitment_agent.model import ActiveModel, model

__all__ = ["ActiveModel", "foreground", "model"]
