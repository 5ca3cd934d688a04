"""What others build on: the function protocol (design §5), with its schemas (`*.avsc`), rules (`function.md`), vectors, codec;
and the schemas of Evento's own records on topics."""
