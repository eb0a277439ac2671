// Package arch holds the rules of the house as tests: which folder may import
// what, where main packages are, that each package says what it is for, that
// the documentation's links and names exist. A breach prints the rule, and the
// reason for it.
//
// It looks at the imports of what is built, not at those of tests: a test may
// use another implementation to compare with.
package arch
