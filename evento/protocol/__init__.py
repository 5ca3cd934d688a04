"""The function protocol (design §5): its schemas (`*.avsc`), its rules (`function.md`), its vectors, and the codec of its envelopes."""
