package agent_test

func childMain(string) int { return 0 }
