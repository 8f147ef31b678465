package lockstep

import (
	"net"
	"sync"
	"time"
)

// mtuCache remembers interfaces' MTUs for a while: to look one up takes a
// netlink dump.
type mtuCache struct {
	mu    sync.Mutex
	asked time.Time
	mtus  map[int]int
}

const mtuKept = 10 * time.Second

// of is an interface's MTU in bytes, 0 if there is no such interface.
func (c *mtuCache) of(index int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	mtu, known := c.mtus[index]
	if now := time.Now(); now.Sub(c.asked) > mtuKept || !known && now.Sub(c.asked) > time.Second {
		c.asked, c.mtus = now, map[int]int{}
		interfaces, _ := net.Interfaces() // none: no limit but the configuration's
		for _, i := range interfaces {
			c.mtus[i.Index] = i.MTU
		}
		mtu = c.mtus[index]
	}
	return mtu
}
