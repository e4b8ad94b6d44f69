package bootserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/wholefile"
)

// pollTags is how often the origin is asked where its tags stand, unless the config
// says otherwise: as often as somebody looks who has just moved one.
const pollTags = time.Minute

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
func (s *Server) follow(ctx context.Context) {
	seen, err := s.readSeen()
	if err != nil {
		s.log.Error("it is not known where the origin's tags stood; they are followed from now on", "err", err)
	}
	for _, tag := range s.site.Load().Images() {
		here, err := s.catalogue.Get(tag)
		if err != nil || here.Manifest.Ref() == tag {
			continue // it is being fetched; or is no tag
		}
		there, err := s.followTag(ctx, tag, here, seen[tag.String()])
		if errors.Is(err, catalogue.ErrNotFound) || ctx.Err() != nil {
			continue // it is this server's own
		}
		if err == nil && there != seen[tag.String()] {
			seen[tag.String()] = there
			err = s.writeSeen(seen)
		}
		if s.noteTag(tag, there, err) {
			s.log.Warn("tag is not followed; the origin is asked again", "tag", tag.String(), "err", err)
		}
	}
}

// followTag asks for one tag, which stands for the image here, and was last seen to
// stand for that with the digest seen; empty: it was never asked for.
func (s *Server) followTag(ctx context.Context, tag images.Ref, here *catalogue.Image, seen string) (there string, err error) {
	asking, cancel := context.WithTimeout(ctx, originAnswers)
	defer cancel()
	if there, err = s.origin.Tagged(asking, tag); err != nil || there == here.Digest || there == seen {
		return there, err
	}
	if seen == "" {
		s.log.Warn("tag stands for another image at the origin; it is left as it is here, until it moves there", "tag", tag.String(), "image", here.Manifest.Ref().String())
		return there, nil
	}
	image, err := s.pullImage(ctx, tag)
	if err != nil {
		return "", err
	}
	s.log.Info("tag has moved with the origin's", "tag", tag.String(), "image", image.Manifest.Ref().String(), "before", here.Manifest.Ref().String())
	return image.Digest, nil
}

// noteTag keeps what the origin has said, and tells whether there is a new problem
// with it.
func (s *Server) noteTag(tag images.Ref, there string, err error) (trouble bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.tags[tag] = originTag{digest: there, asked: time.Now()}
		return false
	}
	t := s.tags[tag]
	trouble = t.problem != err.Error()
	t.problem = err.Error()
	s.tags[tag] = t
	return trouble
}

// tagStatus tells of the tags that machines boot by; mu is held.
func (s *Server) tagStatus() (status []TagStatus) {
	for _, tag := range s.site.Load().Images() {
		t, ok := s.tags[tag]
		here, err := s.catalogue.Get(tag)
		if !ok || err != nil {
			continue
		}
		status = append(status, TagStatus{
			Tag: tag.String(), Image: here.Manifest.Ref().String(), Same: here.Digest == t.digest, Asked: t.asked, Problem: t.problem,
		})
	}
	return status
}

// seenFile is, in the state folder, where the origin's tags stood: a restart must
// not take what was moved here for something new.
const seenFile = "origin-tags.json"

type seenTags struct {
	Origin string            `json:"origin"`
	Tags   map[string]string `json:"tags"` // digests
}

// readSeen reads where the tags of this origin stood; nothing of another's.
func (s *Server) readSeen() (map[string]string, error) {
	seen := seenTags{}
	data, err := os.ReadFile(s.seenPath())
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil || seen.Origin != s.origin.String() || seen.Tags == nil {
		return map[string]string{}, err
	}
	return seen.Tags, nil
}

func (s *Server) writeSeen(tags map[string]string) error {
	data, err := json.Marshal(seenTags{s.origin.String(), tags})
	if err == nil {
		err = wholefile.Write(s.seenPath(), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("note where the origin's tags stand: %w", err)
	}
	return nil
}

func (s *Server) seenPath() string { return filepath.Join(s.site.Load().State, seenFile) }
