module evento.dev/examples/bank-go

go 1.25

require github.com/linkedin/goavro/v2 v2.15.0

require (
	github.com/golang/snappy v1.0.0 // indirect
	github.com/stretchr/testify v1.9.0 // indirect
)
