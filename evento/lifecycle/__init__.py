"""One Command's life and one batch's settlement (design §6). Pure: signals in, effects out; no I/O, no clock, no randomness."""
