module mta-sts.dev/tools/peers/go-mtasts

go 1.26.0

require github.com/foxcpp/go-mtasts v0.0.0-20240130093538-1438da2e5932

require (
	golang.org/x/net v0.20.0 // indirect
	golang.org/x/text v0.14.0 // indirect
)
