package fleet

import "swarmboot/initramfs/stage"

// count adds what a machine has got from others since it last told. The sum only
// grows: a machine that boots anew counts from zero, what it had got before
// stays. The caller holds mu.
func (f *Fleet) count(image string, before, now *stage.Progress) {
	if before == nil || now.FromPeers < before.FromPeers {
		before = &stage.Progress{}
	}
	f.fromPeers[image] += now.FromPeers - before.FromPeers
	f.fromFar[image] += max(0, now.FromFar-before.FromFar)
}

// CountBoot adds what a machine has sent of an image's kernel and initramfs.
func (f *Fleet) CountBoot(image string, sent int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bootFromPeers[image] += sent
}

// BootGiven tells how many bytes of an image's kernel and initramfs the machines
// have had from each other.
func (f *Fleet) BootGiven(image string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bootFromPeers[image]
}

// Given tells how many bytes the machines of an image have had from each other,
// and how many of these from rack to rack.
func (f *Fleet) Given(image string) (all, far int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fromPeers[image], f.fromFar[image]
}
