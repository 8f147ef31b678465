package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"os"
	"time"
)

// monitor is QEMU's control socket (the QEMU Machine Protocol).
type monitor struct {
	conn net.Conn
	in   *bufio.Reader
}

func newMonitor(conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, in: bufio.NewReader(conn)}
	if _, err := m.in.ReadBytes('\n'); err != nil { // the greeting
		return nil, fmt.Errorf("QMP: %w", err)
	}
	return m, m.execute("qmp_capabilities", map[string]any{})
}

// execute runs one command, and passes over the events that come before its
// answer.
func (m *monitor) execute(command string, arguments map[string]any) error {
	if err := m.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if err := json.NewEncoder(m.conn).Encode(map[string]any{"execute": command, "arguments": arguments}); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	for {
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("QMP %s: %w", command, err)
		}
		var answer struct {
			Event string
			Error *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("QMP %s: %w", command, err)
		}
		if answer.Error != nil {
			return fmt.Errorf("QMP %s: %s", command, answer.Error.Desc)
		}
		if answer.Event == "" {
			return nil
		}
	}
}

// screen takes a picture of the machine's screen, as PNG. QEMU writes it
// through a temporary file.
func (m *monitor) screen(file string) ([]byte, error) {
	if err := m.execute("screendump", map[string]any{"filename": file}); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	ppm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	picture, err := decodePPM(ppm)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = png.Encode(&out, picture)
	return out.Bytes(), err
}

// decodePPM reads the one kind of PPM that QEMU writes: P6 with 8 bits a
// channel and no comments.
func decodePPM(ppm []byte) (image.Image, error) {
	var width, height, depth int
	in := bytes.NewReader(ppm)
	if _, err := fmt.Fscanf(in, "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("screendump: %w", err)
	}
	pixels := ppm[len(ppm)-in.Len():]
	if depth != 255 || len(pixels) != 3*width*height {
		return nil, errors.New("screendump: not an 8-bit PPM")
	}
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		rgb := pixels[3*i:]
		picture.Set(i%width, i/width, color.RGBA{rgb[0], rgb[1], rgb[2], 255})
	}
	return picture, nil
}
