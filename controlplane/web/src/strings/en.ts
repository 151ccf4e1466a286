// English: the reference every other language follows (its type is `Strings`).

import type { GoneReason } from '../gone';
import type { MediaFault } from '../media/faults';
import type { ProblemKind } from '../problems';

export interface Advice {
  /** One line that names the fault. */
  readonly title: string;
  /** What to do about it. */
  readonly remedy: string;
}

const problems: Record<ProblemKind, Advice> = {
  unreachable: {
    title: 'The server cannot be reached',
    remedy:
      'Check your network. If this is your own server, make sure that kaigid is running, then try again.',
  },
  draining: {
    title: 'The server is restarting',
    remedy: 'It takes no new participants for a moment. Try again in a few seconds.',
  },
  'meeting-unknown': {
    title: 'There is no such meeting',
    remedy: 'Check the link or ask whoever invited you for a new one.',
  },
  'meeting-ended': {
    title: 'This meeting has ended',
    remedy: 'Ask the host for a new link, or start a meeting of your own.',
  },
  'meeting-locked': {
    title: 'This meeting is locked',
    remedy: 'Ask the host to unlock it, then try again.',
  },
  'meeting-full': {
    title: 'This meeting is full',
    remedy: 'Try again when somebody has left.',
  },
  passcode: {
    title: 'This meeting asks for a passcode',
    remedy: 'Enter the passcode of your invitation.',
  },
  'waiting-room': {
    title: 'This meeting has a waiting room',
    remedy: 'Let the host know that you are here, then try again.',
  },
  'account-needed': {
    title: 'This server asks for an account',
    remedy:
      'Guests cannot create meetings here. Ask somebody with an account for a link, or the operator for an account.',
  },
  credentials: {
    title: 'The address or the password is wrong',
    remedy: 'Check both. An admin of this server can send you a link to set a new password.',
  },
  code: {
    title: 'This account needs a valid code',
    remedy: 'Enter the code your authenticator app shows now, each one once, or a recovery code.',
  },
  'link-dead': {
    title: 'This link no longer works',
    remedy: 'It was used, replaced or is too old. Ask whoever sent it for a new one.',
  },
  'set-up': {
    title: 'This server is set up already',
    remedy: 'Sign in, or ask an admin for an account.',
  },
  'not-admin': {
    title: 'This is for admins',
    remedy: 'Ask an admin of this server.',
  },
  'account-disabled': {
    title: 'This account is disabled',
    remedy: 'Ask an admin of this server.',
  },
  unauthorized: {
    title: 'The server did not accept your admission',
    remedy: 'It may have expired. Join again.',
  },
  forbidden: {
    title: 'You are not allowed to do this',
    remedy: 'This server may keep meetings to people with an account. Ask its operator or the host.',
  },
  'too-many': {
    title: 'Too many requests',
    remedy: 'Wait a moment, then try again.',
  },
  invalid: {
    title: 'The server did not accept the request',
    remedy: 'Check what you entered and try again.',
  },
  'media-path': {
    title: 'No media connection to the server',
    remedy:
      'The page loads, but audio and video find no way through. A firewall may block UDP port 7882 or TCP port 7881.',
  },
  unexpected: {
    title: 'Something went wrong',
    remedy: 'Try again. If it stays like this, the server’s log says more.',
  },
};

const camera: Record<MediaFault, Advice> = {
  refused: {
    title: 'The camera is blocked',
    remedy:
      'Allow the camera for this site by the icon in the address bar, then try again. You can join without it.',
  },
  absent: { title: 'No camera found', remedy: 'Connect a camera, or join without one.' },
  busy: {
    title: 'The camera is in use',
    remedy: 'Another program holds it. Close that program and try again, or join without it.',
  },
  insecure: {
    title: 'Camera and microphone need a secure page',
    remedy: 'Browsers allow them only over HTTPS or on localhost. You can join to watch and listen.',
  },
  failed: { title: 'The camera did not start', remedy: 'Choose another camera or join without one.' },
};

const microphone: Record<MediaFault, Advice> = {
  refused: {
    title: 'The microphone is blocked',
    remedy:
      'Allow the microphone for this site by the icon in the address bar, then try again. You can join without it.',
  },
  absent: { title: 'No microphone found', remedy: 'Connect a microphone, or join to listen.' },
  busy: {
    title: 'The microphone is in use',
    remedy: 'Another program holds it. Close that program and try again, or join to listen.',
  },
  insecure: camera.insecure,
  failed: { title: 'The microphone did not start', remedy: 'Choose another microphone or join to listen.' },
};

const gone: Record<GoneReason, Advice> = {
  left: { title: 'You left the meeting', remedy: 'It goes on without you. You can come back any time.' },
  lost: { title: 'The connection was lost', remedy: 'The server or the network went away.' },
  removed: { title: 'You were removed from the meeting', remedy: 'The host ended your participation.' },
  ended: { title: 'The meeting has ended', remedy: 'The host closed it for everyone.' },
  elsewhere: {
    title: 'You joined from another place',
    remedy: 'The same participant came in again, so this page stepped aside.',
  },
};

export const en = {
  language: 'en',
  product: 'kaigi',
  tagline: 'Meetings on your own server.',
  lead: 'Clear audio, sharp video, and every packet on a machine that you run. No account, nothing to install.',
  points: ['Works in your browser', 'One link is the invitation', 'Nothing leaves your server'],
  start: {
    title: 'Start or join a meeting',
    newMeeting: 'New meeting',
    joinMeeting: 'Join a meeting',
    name: 'Your name',
    namePlaceholder: 'How others will see you',
    topic: 'Topic',
    topicPlaceholder: 'What it is about',
    topicDefault: (name: string) => (name ? `${name}’s meeting` : 'Meeting'),
    create: 'Create meeting',
    creating: 'Creating…',
    link: 'Link or meeting number',
    linkPlaceholder: 'https://…/j/1234',
    linkInvalid: 'This is neither a meeting link nor a meeting number.',
    join: 'Continue',
    or: 'or',
  },
  accounts: {
    account: 'Account',
    admin: 'Administration',
    signIn: 'Sign in',
    signOut: 'Sign out',
    name: 'Name',
    email: 'Email address',
    password: 'Password',
    passwordHint: 'At least 12 characters. A few words are easier to remember than signs.',
    newPassword: 'New password',
    currentPassword: 'Present password',
    code: 'Code',
    codeHint: 'Six digits of your authenticator app, or a recovery code.',
    save: 'Save',
    saved: 'Saved.',
    setupTitle: 'Welcome to your server',
    setupLead: 'Make the first account. It runs this server: it invites others and sees the audit log.',
    setupDo: 'Create the account',
    invitationTitle: 'Choose a password',
    invitationLead: 'You were invited to this server. With a password you can sign in.',
    invitationDo: 'Set the password',
    noToken: 'This link is not complete. Copy all of it, up to its last sign.',
    profile: 'Profile',
    changePassword: 'Change the password',
    passwordChanged: 'The password was changed. Every other session was ended.',
    sessions: 'Where you are signed in',
    thisSession: 'this browser',
    lastSeen: (time: string) => `last used ${time}`,
    end: 'End',
    totp: 'Authenticator app',
    totpOff: 'Signing in takes your password alone. With an app on your telephone it takes a code as well.',
    totpOn: (left: number) => `Signing in takes a code. Recovery codes left: ${left}.`,
    totpBegin: 'Set up an app',
    totpScan: 'Scan this with the app, or type the key into it. Then enter the code it shows.',
    totpKey: 'Key',
    totpEnable: 'Turn on',
    totpDisable: 'Turn off',
    recovery: 'Recovery codes',
    recoveryLead:
      'Keep these where you find them without your telephone. Each works once, and they are not shown again.',
    users: 'Accounts',
    invite: 'Invite somebody',
    inviteDo: 'Make a link',
    inviteLink: 'Send this link. It works once, for seven days.',
    inviteAgain: 'New link',
    makeAdmin: 'Make admin',
    makeUser: 'Make user',
    disable: 'Disable',
    enable: 'Enable',
    isAdmin: 'admin',
    isDisabled: 'disabled',
    isInvited: 'no password yet',
    more: 'Show more',
    audit: 'Audit log',
    refused: 'refused',
    consentTitle: 'Allow access?',
    consentAsks: (client: string) =>
      `${client} wants to see, make, change and end your meetings. It cannot change your account.`,
    consentLeads: (host: string) => `Either way you go on to ${host}.`,
    consentAllow: 'Allow',
    consentDeny: 'Do not allow',
    actions: {
      create_oauth_client: 'registered a program',
      delete_oauth_client: 'deleted a program',
      authorize: 'let a program act',
      list_oauth_clients: 'listed programs',
      set_up: 'made the first account',
      sign_in: 'signed in',
      change_password: 'changed the own password',
      enable_totp: 'turned codes on',
      disable_totp: 'turned codes off',
      end_session: 'ended an own session',
      create_user: 'made an account',
      change_user: 'changed an account',
      invite: 'made an invitation',
      accept_invitation: 'accepted an invitation',
      list_users: 'listed accounts',
      read_audit: 'read the audit log',
    } as Record<string, string>,
  },
  door: {
    titleNew: 'Your meeting is ready',
    title: 'Ready to join?',
    checking: 'Looking for the meeting…',
    name: 'Your name',
    nameMissing: 'Enter a name so that others know who you are.',
    passcode: 'Passcode',
    join: 'Join now',
    joinMuted: 'Join to watch and listen',
    joining: 'Joining…',
    share: 'Invite others with this link',
    cameraOff: 'Your camera is off',
    cameraStarting: 'Starting your camera…',
    preview: 'Camera preview',
    level: 'Microphone level',
    settings: 'Devices and quality',
    tryAgain: 'Try again',
    retrying: 'Trying again by itself…',
    home: 'Back to start',
    walkingIn: (topic: string) => (topic ? `Joining ${topic}…` : 'Joining the meeting…'),
  },
  devices: {
    camera: 'Camera',
    microphone: 'Microphone',
    speaker: 'Speaker',
    quality: 'Camera quality',
    standard: 'System default',
    none: 'None found',
    capture: (width: number, height: number, fps: number) => `${width} × ${height}, ${fps} fps`,
    captureLabels: {
      '320x180@15': 'Data saver',
      '640x360@30': 'Standard',
      '1280x720@30': 'High definition',
    } as Record<string, string>,
    unnamed: (kind: string, index: number) => `${kind} ${index}`,
  },
  meeting: {
    untitled: 'Meeting',
    microphone: 'Microphone',
    camera: 'Camera',
    screen: 'Share screen',
    mute: 'Mute',
    unmute: 'Unmute',
    cameraOn: 'Start camera',
    cameraOff: 'Stop camera',
    screenOn: 'Share your screen',
    screenOff: 'Stop sharing',
    screenUnsupported: 'This browser cannot share a screen',
    leave: 'Leave',
    people: 'People',
    settings: 'Settings',
    copyLink: 'Copy link',
    linkCopied: 'Link copied',
    copyFailed: 'Copying failed: mark the link and copy it by hand.',
    controls: 'Meeting controls',
    tiles: 'Participants',
    you: 'You',
    youSuffix: '(you)',
    guest: 'Guest',
    muted: 'muted',
    speaking: 'speaking',
    cameraIsOff: 'camera off',
    paused: 'Video paused to keep the sound clear',
    reduced: {
      link: 'Your connection is slow: lower quality',
      linkAdvice: 'It gets better by itself; a faster or less busy network helps.',
      camera: 'This camera sends lower quality',
      screen: 'This screen is sent in lower quality',
      cameraAdvice: 'The limit is the sender’s camera, computer or connection.',
      priority: 'Lower quality: others come first',
      priorityAdvice: 'Pin this video to put it before the others.',
      asked: 'Lower quality for this window',
      askedAdvice: 'A larger window gets a sharper picture.',
      codec: (codecs: string) =>
        codecs ? `Codec not supported by this browser: ${codecs}` : 'Codec not supported by this browser',
      codecAdvice: 'Another browser can show this video.',
    },
    screenOf: (name: string) => `${name}’s screen`,
    yourScreen: 'Your screen',
    youShare: 'You are sharing your screen',
    sharedToAll: 'Everyone in the meeting sees it.',
    aloneTitle: 'Nobody else is here yet',
    alone: 'Send the link to invite others.',
    count: (count: number) => (count === 1 ? '1 person' : `${count} people`),
    more: (count: number) => `${count} more`,
    page: (page: number, pages: number) => `Page ${page} of ${pages}`,
    previous: 'Previous page',
    next: 'Next page',
    pin: 'Pin',
    unpin: 'Unpin',
    joined: (name: string) => `${name} joined`,
    gone: (name: string) => `${name} left`,
    startedSharing: (name: string) => `${name} is sharing a screen`,
    reconnecting: 'Reconnecting…',
    reconnectingDetail: 'The connection to the server broke. You stay in the meeting.',
    reconnected: 'Connected again',
    soundOff: 'You cannot hear the others yet',
    enableSound: 'Click to enable sound',
    enableSoundDetail: 'The browser waits for a click before it plays audio.',
    close: 'Close',
    quality: {
      excellent: 'Connection: excellent',
      good: 'Connection: good',
      poor: 'Connection: poor',
      lost: 'Connection: lost',
    },
    screenFailed: 'The screen could not be shared',
  },
  gone: {
    rejoin: 'Rejoin',
    home: 'Back to start',
    autoRejoin: (seconds: number) => `Trying again in ${seconds} s`,
    nowTrying: 'Trying again…',
  },
  fault: {
    serverSays: 'The server says:',
    code: (status: number) => `Status ${status}`,
    retryAfter: (s: number) => `Wait ${s} s.`,
  },
  problems,
  faults: { camera, microphone },
  goneReasons: gone,
};

export type Strings = typeof en;
