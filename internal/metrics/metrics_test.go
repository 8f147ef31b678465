package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestScrape(t *testing.T) {
	m := New("1.2.3")
	m.DHCP("DISCOVER", "offer")
	m.DHCP("DISCOVER", "offer")
	m.Transfer("tftp", "loader", "done", 1000)
	m.Script("menu", "ok")
	m.Report("layout", "refused")
	m.Reload(true)
	m.Reload(false)
	m.Leases(func() []LeaseCount { return []LeaseCount{{"192.0.2.0/24", "free", 99}} })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`ravenboot_dhcp_messages_total{message="DISCOVER",result="offer"} 2`,
		`ravenboot_transfers_total{kind="loader",protocol="tftp",result="done"} 1`,
		`ravenboot_transfer_bytes_total{kind="loader",protocol="tftp"} 1000`,
		`ravenboot_scripts_total{kind="menu",result="ok"} 1`,
		`ravenboot_reports_total{outcome="refused",step="layout"} 1`,
		`ravenboot_config_reloads_total{result="applied"} 1`,
		`ravenboot_config_reloads_total{result="refused"} 1`,
		`ravenboot_leases{network="192.0.2.0/24",state="free"} 99`,
		`ravenboot_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("the scrape has no %s", want)
		}
	}
}
