"""The nouns of Evento (design §2). Pure: no I/O, no clock, no randomness; knows nothing but `evento.errors`."""
