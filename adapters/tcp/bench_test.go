package tcp

func childMain() bool { return false }
