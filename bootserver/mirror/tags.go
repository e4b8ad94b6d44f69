package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/wholefile"
)

// answers is how long the origin is asked where one tag stands.
const answers = 10 * time.Second

// TagStatus is a tag by which machines boot, and which the origin has too.
type TagStatus struct {
	Tag     string    `json:"tag"`
	Image   string    `json:"image"`             // that it stands for here
	Same    bool      `json:"same"`              // at the origin too; else it was moved here, and stays until it moves there
	Asked   time.Time `json:"asked,omitzero"`    // when the origin last answered
	Problem string    `json:"problem,omitempty"` // why it was not followed the last time
}

func (t TagStatus) String() string {
	text := t.Tag + " is " + t.Image
	switch {
	case t.Problem != "":
		return text + "; the origin is asked again: " + t.Problem
	case t.Same:
		text += " there too"
	default:
		text += " here, and another image there; it moves when it moves there"
	}
	return text + ", asked at " + t.Asked.Local().Format(time.TimeOnly)
}

// originTag is what is known of a tag at the origin.
type originTag struct {
	digest  string // of the image that it stands for there
	asked   time.Time
	problem string
}

// follow asks the origin where the tags stand by which machines boot. What has
// moved there since, moves here. What was moved here stays: whoever takes a rack
// back to the version before is not overruled.
func (m *Mirror) follow(ctx context.Context) {
	seen, err := m.readSeen()
	if err != nil {
		m.Log.Error("it is not known where the origin's tags stood; they are followed from now on", "err", err)
	}
	for _, tag := range m.Wanted() {
		here, err := m.Catalogue.Get(tag)
		if err != nil || here.Manifest.Ref() == tag {
			continue // it is being fetched; or is no tag
		}
		there, err := m.followTag(ctx, tag, here, seen[tag.String()])
		if errors.Is(err, catalogue.ErrNotFound) || ctx.Err() != nil {
			continue // it is this server's own
		}
		if err == nil && there != seen[tag.String()] {
			seen[tag.String()] = there
			err = m.writeSeen(seen)
		}
		if m.noteTag(tag, there, err) {
			m.Log.Warn("tag is not followed; the origin is asked again", "tag", tag.String(), "err", err)
		}
	}
}

// followTag asks for one tag, which stands for the image here, and was last seen to
// stand for that with the digest seen; empty: it was never asked for.
func (m *Mirror) followTag(ctx context.Context, tag images.Ref, here *catalogue.Image, seen string) (there string, err error) {
	asking, cancel := context.WithTimeout(ctx, answers)
	defer cancel()
	if there, err = m.Origin.Tagged(asking, tag); err != nil || there == here.Digest || there == seen {
		return there, err
	}
	if seen == "" {
		m.Log.Warn("tag stands for another image at the origin; it is left as it is here, until it moves there", "tag", tag.String(), "image", here.Manifest.Ref().String())
		return there, nil
	}
	image, err := m.pull(ctx, tag)
	if err != nil {
		return "", err
	}
	m.Log.Info("tag has moved with the origin's", "tag", tag.String(), "image", image.Manifest.Ref().String(), "before", here.Manifest.Ref().String())
	return image.Digest, nil
}

// noteTag keeps what the origin has said, and tells whether there is a new problem
// with it.
func (m *Mirror) noteTag(tag images.Ref, there string, err error) (trouble bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.tags[tag] = originTag{digest: there, asked: time.Now()}
		return false
	}
	t := m.tags[tag]
	trouble = t.problem != err.Error()
	t.problem = err.Error()
	m.tags[tag] = t
	return trouble
}

// status tells of the tag, which stands for the image here.
func (t originTag) status(tag images.Ref, here *catalogue.Image) TagStatus {
	return TagStatus{
		Tag: tag.String(), Image: here.Manifest.Ref().String(), Same: here.Digest == t.digest, Asked: t.asked, Problem: t.problem,
	}
}

// seenTags is what SeenFile holds, where the origin's tags stood: a restart must not
// take what was moved here for something new.
type seenTags struct {
	Origin string            `json:"origin"`
	Tags   map[string]string `json:"tags"` // digests
}

// readSeen reads where the tags of this origin stood; nothing of another's.
func (m *Mirror) readSeen() (map[string]string, error) {
	seen := seenTags{}
	data, err := os.ReadFile(m.SeenFile)
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil || seen.Origin != m.Origin.String() || seen.Tags == nil {
		return map[string]string{}, err
	}
	return seen.Tags, nil
}

func (m *Mirror) writeSeen(tags map[string]string) error {
	data, err := json.Marshal(seenTags{m.Origin.String(), tags})
	if err == nil {
		err = wholefile.Write(m.SeenFile, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("note where the origin's tags stand: %w", err)
	}
	return nil
}
