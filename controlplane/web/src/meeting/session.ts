// One stay in a meeting: the Room, what is sent into it, and how it ends. The page calls methods and renders the model.

import {
  ConnectionState,
  type DisconnectReason,
  MediaDeviceFailure,
  type Room,
  RoomEvent,
  Track,
} from 'livekit-client';
import type { Admission } from '../api';
import { formatCapture } from '../capture';
import type { GoneReason } from '../gone';
import { markOnce } from '../marks';
import { type Acquired, type MediaKind, stopTracks } from '../media/acquire';
import { faultOf, type MediaFault } from '../media/faults';
import { type Preferences, savePreferences } from '../preferences';
import { forgetMeeting, rememberMeeting } from '../rejoin';
import type { Visit } from '../walk-in';
import { cameraEncoding, connectRoom, goneReason, publishOwnTracks } from './connect';
import { MeetingModel } from './model';

export interface SessionEvents {
  readonly onGone: (reason: GoneReason) => void;
  readonly onDeviceFault: (kind: MediaKind | 'screen', fault: MediaFault) => void;
}

export class MeetingSession {
  readonly model: MeetingModel;
  preferences: Preferences;
  #visit: Visit;
  #leaving = false;
  #events: SessionEvents | undefined;
  /** What happened before a page was listening. */
  #missedFaults: [MediaKind, MediaFault][] = [];
  #missedGone: GoneReason | undefined;

  static async open(
    visit: Visit,
    admission: Admission,
    preferences: Preferences,
    devices: Promise<Acquired>,
  ): Promise<MeetingSession> {
    const room = await connectRoom(admission, preferences);
    markOnce('kaigi:connected');
    const session = new MeetingSession(room, visit, preferences, admission.sessionToken);
    void devices.then((acquired) => session.#publish(acquired));
    return session;
  }

  private constructor(
    readonly room: Room,
    visit: Visit,
    preferences: Preferences,
    /** The Bearer for what the server says about oneself. */
    readonly pass: string,
  ) {
    const { opened: _, ...lasting } = visit;
    this.#visit = lasting;
    this.preferences = preferences;
    this.model = new MeetingModel(room);
    room.on(RoomEvent.Disconnected, this.#disconnected);
    room.on(RoomEvent.MediaDevicesError, (error, kind) => {
      if (MediaDeviceFailure.getFailure(error))
        this.#fault(kind === 'videoinput' ? 'camera' : 'microphone', faultOf(error));
    });
    rememberMeeting(this.#visit);
  }

  get #over(): boolean {
    return this.room.state === ConnectionState.Disconnected;
  }

  /** How to come back: the same name and devices. */
  get visit(): Visit {
    return this.#visit;
  }

  listen(events: SessionEvents): void {
    this.#events = events;
    for (const [kind, fault] of this.#missedFaults.splice(0)) events.onDeviceFault(kind, fault);
    if (this.#missedGone) events.onGone(this.#missedGone);
  }

  async setMicrophone(on: boolean): Promise<void> {
    await this.#switch('microphone', on, () => this.room.localParticipant.setMicrophoneEnabled(on));
  }

  async setCamera(on: boolean): Promise<void> {
    await this.#switch('camera', on, () => this.room.localParticipant.setCameraEnabled(on));
  }

  async setScreen(on: boolean): Promise<void> {
    try {
      await this.room.localParticipant.setScreenShareEnabled(on, {
        audio: true,
        contentHint: 'detail',
        resolution: { width: 1920, height: 1080, frameRate: 15 },
        selfBrowserSurface: 'exclude',
        surfaceSwitching: 'include',
        systemAudio: 'include',
      });
    } catch (error) {
      const fault = faultOf(error);
      // Closing the browser's own chooser is an answer, not a fault.
      if (fault !== 'refused') this.#events?.onDeviceFault('screen', fault);
    }
  }

  /** Applies changed devices or quality to what is being sent now, and remembers them. */
  async change(change: Partial<Preferences>): Promise<void> {
    const before = this.preferences;
    this.preferences = { ...before, ...change };
    savePreferences(change);
    const { room } = this;
    const move = async (kind: MediaDeviceKind, id: string | undefined): Promise<void> => {
      if (id !== undefined) await room.switchActiveDevice(kind, id || 'default', false);
    };
    try {
      if (change.microphoneId !== before.microphoneId) await move('audioinput', change.microphoneId);
      if (change.speakerId !== before.speakerId) await move('audiooutput', change.speakerId);
      if (change.cameraId !== before.cameraId) await move('videoinput', change.cameraId);
      if (change.capture && formatCapture(change.capture) !== formatCapture(before.capture))
        await this.#resizeCamera();
    } catch (error) {
      this.#fault('microphoneId' in change ? 'microphone' : 'camera', faultOf(error));
    }
  }

  /** A click happened: play what the browser held back. */
  async enableSound(): Promise<void> {
    await this.room.startAudio();
  }

  /** Leaves for good: a reload then shows the door. */
  async leave(): Promise<void> {
    this.#leaving = true;
    forgetMeeting();
    await this.room.disconnect();
  }

  async #publish(acquired: Acquired): Promise<void> {
    if (this.#leaving || this.#over) {
      stopTracks(acquired);
      return;
    }
    for (const kind of ['microphone', 'camera'] as const) {
      const fault = acquired.faults[kind];
      if (fault) this.#fault(kind, fault);
    }
    try {
      await publishOwnTracks(this.room, acquired, this.preferences);
    } catch {
      // The connection went away meanwhile: the Room reconnects or reports its end by itself.
      if (this.#over) stopTracks(acquired);
    }
  }

  async #switch(kind: MediaKind, on: boolean, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
      this.#visit = { ...this.#visit, [kind]: on };
      savePreferences({ [kind]: on });
      if (!this.#leaving) rememberMeeting(this.#visit);
    } catch (error) {
      this.#fault(kind, faultOf(error));
    }
  }

  /** A new size means a new encoder and new layers: the camera is published anew. */
  async #resizeCamera(): Promise<void> {
    const { capture, cameraId } = this.preferences;
    const { localParticipant } = this.room;
    const resolution = { width: capture.width, height: capture.height, frameRate: capture.framesPerSecond };
    Object.assign(this.room.options.videoCaptureDefaults ?? {}, { resolution });
    Object.assign(this.room.options.publishDefaults ?? {}, cameraEncoding(capture));
    const publication = localParticipant.getTrackPublication(Track.Source.Camera);
    if (!publication?.track) return;
    const wasOn = !publication.isMuted;
    await localParticipant.unpublishTrack(publication.track, true);
    if (wasOn)
      await localParticipant.setCameraEnabled(true, {
        resolution,
        ...(cameraId ? { deviceId: cameraId } : {}),
      });
  }

  #fault(kind: MediaKind, fault: MediaFault): void {
    if (this.#events) this.#events.onDeviceFault(kind, fault);
    else this.#missedFaults.push([kind, fault]);
  }

  readonly #disconnected = (reason?: DisconnectReason): void => {
    this.model.close();
    const said = goneReason(reason);
    // Without our doing, "the client left" is the page being frozen or torn down: that is a lost connection.
    const gone = this.#leaving ? 'left' : said === 'left' ? 'lost' : said;
    if (gone !== 'lost') forgetMeeting();
    if (this.#events) this.#events.onGone(gone);
    else this.#missedGone = gone;
  };
}
