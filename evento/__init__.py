"""Evento: a cloud-native event-sourcing platform. Commands in, Events out, nothing lost."""
