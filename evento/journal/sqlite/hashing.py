"""The hash under which a Command is found: its name as one big number, modulo a prime that each journal draws for itself.

It costs a quarter of a cryptographic hash, and is paid twice for every Command. That the prime is secret keeps a sender from making
Commands whose hashes are equal; two that are by chance are told apart by their rows. Knows no SQL.
"""

from collections.abc import Callable

from evento.model.keys import EntityKey

MODULUS_BITS = 60
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # enough to be sure below 2^64


def command_hash(modulus: int, key: EntityKey, command_id: str) -> int:
    """Return a Command's hash."""
    return int.from_bytes(f"{key[0]}/{key[1]}/{key[2]}\n{command_id}".encode(), "little") % modulus


def named_hash(modulus: int, name: bytes, command_id: bytes) -> int:
    """Return the same, of an instance by its name."""
    return int.from_bytes(name + b"\n" + command_id, "little") % modulus


def make_modulus(draw: Callable[[], int]) -> int:
    """Return a random prime of 60 bits; `draw` gives random numbers of 64 bits that nobody can foresee."""
    while True:
        number = draw() & (1 << MODULUS_BITS) - 1 | 1 << (MODULUS_BITS - 1) | 1
        if is_prime(number):
            return number


def is_prime(number: int) -> bool:
    """Return whether a number below 2^64 is prime (Miller and Rabin's test)."""
    if number < 2 or any(number % small == 0 for small in _WITNESSES):
        return number in _WITNESSES
    twos = (number - 1 & 1 - number).bit_length() - 1
    return all(_passes(number, witness, twos) for witness in _WITNESSES)


def _passes(number: int, witness: int, twos: int) -> bool:
    value = pow(witness, number - 1 >> twos, number)
    if value == 1:
        return True
    for _ in range(twos):
        if value == number - 1:
            return True
        value = value * value % number
    return False
