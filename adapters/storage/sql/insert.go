package sql

import "strings"

// insertSizes are how many rows one statement inserts: of many rows most go by the first.
// A statement costs as much as two or three of its rows.
var insertSizes = [...]int{64, 8, 1}

// inserts are statements that insert so many rows each.
type inserts struct {
	columns int
	queries [len(insertSizes)]string
}

// newInserts makes them of "INSERT INTO ... VALUES ".
func newInserts(into string, columns int) *inserts {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	x := &inserts{columns: columns}
	for i, n := range insertSizes {
		x.queries[i] = into + row + strings.Repeat(", "+row, n-1)
	}
	return x
}

// insertMany inserts rows in order: args are their columns, one row behind the other.
func (t *tx) insertMany(x *inserts, args []any) error {
	for i, size := range insertSizes {
		for n := size * x.columns; len(args) >= n; args = args[n:] {
			if _, err := t.exec(x.queries[i], args[:n]...); err != nil {
				return err
			}
		}
	}
	return nil
}
