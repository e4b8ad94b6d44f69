package swarm

// NewLinked is New with something of the test's under each connection.
var NewLinked = newAlone
