"""The way in: LMTP as a pure state machine, recipients, the headers of final delivery, and the way into a store."""
