"""The function protocol (design §5): its schemas (`*.avsc`), rules (`function.md`), vectors, the codec of its envelopes."""
