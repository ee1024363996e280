"""The agent: brings models onto one device, proves them there, and says so.

Applications on the device need one name from here:

    from fitment_agent import model

    active = model("activity")      # path, runtime and session options of the proved variant
"""

from fitment_agent.model import ActiveModel, model

__all__ = ["ActiveModel", "model"]
