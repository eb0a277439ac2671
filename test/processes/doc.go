// Package processes runs tests of test/e2e again with extensions in processes of their own:
// they do the same there.
package processes
